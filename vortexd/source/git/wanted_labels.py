"""Decides which labels are read: those with the newest commits, those that clients have asked for, and those in use.

Pure.

The labels of a repository and the requests of clients arrive. The list of labels to read leaves. The invariant:
requests never make that list longer than twice `loaded_labels`, plus the labels in use.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from ..base import LabelsInUse
from .labels import COMMIT, first_labels
from .refs import Ref
from .settings import GitSettings

# The number of commits to remember that aren't served, so that another request for one needs no call of git.
MOST_REFUSED = 1_024


class WantedLabels:
    """Decides which labels are read; see the module.

    Attributes:
        in_use: Returns the labels in use. They are kept, even if clients have asked for others later.
    """

    def __init__(self, settings: GitSettings) -> None:
        self._settings = settings
        self._known: Mapping[str, Ref] = {}
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()
        self.in_use: LabelsInUse = frozenset

    @property
    def known(self) -> Mapping[str, Ref]:
        """The labels of the repository, and the branch or tag of each."""
        return self._known

    def update(self, known: Mapping[str, Ref]) -> tuple[int, list[str]]:
        """Take over the current labels of the repository.

        Returns:
            The number of labels that have moved, and the commits that clients have asked for. These may no longer be
            served.
        """
        if known == self._known:
            return 0, []
        moved = sum(1 for label, ref in known.items() if self._known.get(label) != ref)
        self._known = known
        self._refused.clear()
        return moved, [each for each in self._asked if each not in known]

    def forget(self, label: str) -> None:
        """Forget that clients have asked for a label."""
        del self._asked[label]

    def is_commit(self, label: str) -> bool:
        """Return whether a label isn't a branch or tag, but may be a commit that is served."""
        return label not in self._known and self._settings.commits and COMMIT.fullmatch(label) is not None

    def may_exist(self, label: str) -> bool:
        """Return whether a request for this label can succeed, as far as that is known without calling git."""
        return label in self._known or (self.is_commit(label) and label not in self._refused)

    def refuse(self, label: str) -> None:
        """Remember that there is no such label, until the repository changes."""
        self._refused[label] = None
        while len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def ask(self, label: str) -> None:
        """Note that a client has asked for a label.

        If there are too many, drop those that weren't asked for longest, unless they are in use.
        """
        self._asked[label] = None
        self._asked.move_to_end(label)
        in_use = self.in_use()
        idle = [each for each in self._asked if each not in in_use and each != label]
        for each in idle[: max(0, len(self._asked) - self._settings.loaded_labels)]:
            del self._asked[each]

    @property
    def are_many(self) -> bool:
        """Whether there are too many labels to read all of them, so that the newest are chosen."""
        return len(self._known) > self._settings.loaded_labels

    def to_read(self, default: str, newest: Sequence[str], loaded: Collection[str]) -> dict[str, str]:
        """Return the labels to read, in order, and the object that each of them points to.

        Args:
            default: The default label.
            newest: The full names of branches and tags, the newest first. Needed only if `are_many`.
            loaded: The labels of the last reading.
        """
        first: Collection[str] = self._known
        if self.are_many:
            first = first_labels(self._known, newest, default, self._settings.loaded_labels)
        held = self.in_use()
        in_use = [label for label in loaded if label in held and label in self._known]
        wanted = dict.fromkeys([*first, *self._asked, *in_use])
        return {label: self._known[label].id if label in self._known else label for label in wanted}
