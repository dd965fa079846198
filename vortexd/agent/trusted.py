"""Reads the files that control the agent, such as templates and tokens. Refuses files that another user can have written."""

import os
from pathlib import Path

from ..core.errors import SettingsError
from ..settings.secure_files import TrustedFiles, as_text


def read_trusted(path: str, forbidden: int) -> str:
    """Return the text of a file that no other user can have written, nor read if `forbidden` says so.

    Raises:
        SettingsError: The file can't be used; the text says why.
    """
    files = TrustedFiles(Path("/"), os.environ)
    whole = files.expanded(path)
    text = files.load(whole, forbidden, as_text) if whole is not None else None
    if text is None:
        raise SettingsError([("", f"{place}: {problem}") for place, problem in files.problems], "file")
    return text
