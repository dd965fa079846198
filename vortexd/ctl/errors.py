"""The error that ends a command of vortexctl."""

from ..core.errors import VortexdError


class CtlError(VortexdError):
    """One sentence that names the error and its remedy.

    Attributes:
        status: The exit status. 1: the result isn't as asked. 2: the command line is wrong. 3: an error of the server.
    """

    def __init__(self, text: str, status: int = 3) -> None:
        self.status = status
        super().__init__(text)
