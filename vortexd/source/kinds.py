"""The kinds of source: the only list of them.

The composition root gives this table to `settings.file`. A new kind is a package here with a class of settings, and a line in the table.
"""

from ..settings.source import Kinds
from .files.settings import FilesSettings
from .git.settings import GitSettings

# The first one is the kind of a [[source]] that names none.
KINDS: Kinds = {"files": FilesSettings, "git": GitSettings}
