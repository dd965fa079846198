"""What ends a command of vortexctl."""

from ..core.errors import VortexdError


class CtlError(VortexdError):
    """One sentence that says what is wrong and what to do.

    Attributes:
        status: The exit status: 1 it isn't as asked, 2 the command line, 3 the server.
    """

    def __init__(self, text: str, status: int = 3) -> None:
        self.status = status
        super().__init__(text)
