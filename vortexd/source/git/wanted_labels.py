"""The labels that are read: those with the newest commits, those that clients have asked for, and those in use. Pure.

In come the labels that a repository has and the requests of clients; out goes the list of labels to read. The invariant: requests never make
that list longer than `loaded_labels` twice, plus the labels in use.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from ..base import LabelsInUse
from .labels import COMMIT, first_labels
from .refs import Ref
from .settings import GitSettings

# Commits that aren't served, as far as they are remembered: so that asking again costs no call of git.
MOST_REFUSED = 1_024


class WantedLabels:
    """See the module.

    Attributes:
        in_use: Returns labels that aren't forgotten, although others were asked for later.
    """

    def __init__(self, settings: GitSettings) -> None:
        self._settings = settings
        self._known: Mapping[str, Ref] = {}
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()
        self.in_use: LabelsInUse = frozenset

    @property
    def known(self) -> Mapping[str, Ref]:
        """The labels that the repository has, and the branch or tag that each is."""
        return self._known

    def update(self, known: Mapping[str, Ref]) -> tuple[int, list[str]]:
        """Take over the labels that the repository has now.

        Returns:
            The number of labels that have moved, and the commits that clients have asked for, which may not be served any more.
        """
        if known == self._known:
            return 0, []
        moved = sum(1 for label, ref in known.items() if self._known.get(label) != ref)
        self._known = known
        self._refused.clear()
        return moved, [each for each in self._asked if each not in known]

    def forget(self, label: str) -> None:
        """Take back a request for a label that was asked for."""
        del self._asked[label]

    def is_commit(self, label: str) -> bool:
        """Whether a label is no branch or tag, but may be a commit that is served."""
        return label not in self._known and self._settings.commits and COMMIT.fullmatch(label) is not None

    def may_exist(self, label: str) -> bool:
        """Whether a request for this label can succeed, as far as that is known without git."""
        return label in self._known or (self.is_commit(label) and label not in self._refused)

    def refuse(self, label: str) -> None:
        """Remember that there is no such label, until the repository has changed."""
        self._refused[label] = None
        while len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def ask(self, label: str) -> None:
        """Want a label because a client has asked for it. Labels that were asked for longest ago give way, unless they are in use."""
        self._asked[label] = None
        self._asked.move_to_end(label)
        in_use = self.in_use()
        idle = [each for each in self._asked if each not in in_use and each != label]
        for each in idle[: max(0, len(self._asked) - self._settings.loaded_labels)]:
            del self._asked[each]

    @property
    def are_many(self) -> bool:
        """Whether there are more labels than are read without being asked for, so that the newest are chosen."""
        return len(self._known) > self._settings.loaded_labels

    def to_read(self, default: str, newest: Sequence[str], loaded: Collection[str]) -> dict[str, str]:
        """The labels to read, in this order, and the object that each of them points to.

        Args:
            default: The default label.
            newest: The full names of branches and tags, the newest first; needed only if `are_many`.
            loaded: The labels that are read now.
        """
        first: Collection[str] = self._known
        if self.are_many:
            first = first_labels(self._known, newest, default, self._settings.loaded_labels)
        held = self.in_use()
        in_use = [label for label in loaded if label in held and label in self._known]
        wanted = dict.fromkeys([*first, *self._asked, *in_use])
        return {label: self._known[label].id if label in self._known else label for label in wanted}
