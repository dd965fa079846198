"""Files that decide what the agent writes and whom it is: read only where nobody else could have written them."""

import os
from pathlib import Path

from ..core.errors import SettingsError
from ..settings.secure_files import TrustedFiles, as_text


def read_trusted(path: str, forbidden: int) -> str:
    """The text of a file that nobody else could have written, or read where `forbidden` says so.

    Raises:
        SettingsError: It can't be used; says why.
    """
    files = TrustedFiles(Path("/"), os.environ)
    whole = files.expanded(path)
    text = files.load(whole, forbidden, as_text) if whole is not None else None
    if text is None:
        raise SettingsError([("", f"{place}: {problem}") for place, problem in files.problems], "file")
    return text
