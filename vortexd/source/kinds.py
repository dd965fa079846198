"""The kinds of source: the only list of them.

The composition root passes this table to `settings.file`. A new kind needs a package here with a class of settings, and
a line in the table.
"""

from ..settings.source import Kinds
from .etcd.settings import EtcdSettings
from .files.settings import FilesSettings
from .git.settings import GitSettings
from .published.settings import PublishedSettings

# If a [[source]] names no kind, it has the first kind here.
KINDS: Kinds = {"files": FilesSettings, "git": GitSettings, "etcd": EtcdSettings, "published": PublishedSettings}
