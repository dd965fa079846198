"""Facts about the order: generations of documents, late numbers, and clients that are ahead."""

from collections.abc import Callable, Mapping

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.generation import Generation
from vortexd.core.model import Config, Files, Key, Moment, Tree
from vortexd.core.term import PinnedConfig, Term
from vortexd.pipeline.order import Order

KEY, OTHER = Key("billing", "prod", "main"), Key("billing", "prod", "old")


def generation(number: int, epoch: str = "e") -> Generation:
    return Generation(epoch, number)


class Numbering:
    """A cluster whose numbers the test sets.

    Attributes:
        known: The generations of files.
        behind: The labels that are behind.
    """

    def __init__(self) -> None:
        self.known: dict[int, Generation] = {}
        self.behind: set[str] = set()
        self.changed: Callable[[], None] = lambda: None
        self.asked: list[tuple[str, Tree]] = []

    def begin(self, tree: Tree) -> None:
        self.asked.append(("begin", tree))

    async def settle(self, tree: Tree) -> None:
        self.asked.append(("settle", tree))

    def numbers(self, tree: Tree) -> Mapping[str, Generation]:
        return {label: self.known[id(files)] for label, files in tree.labels.items() if id(files) in self.known}

    def is_behind(self, label: str) -> bool:
        return label in self.behind

    def report(self, changed: Callable[[], None]) -> None:
        self.changed = changed


class Stage:
    """An order in a cluster, and publications of two labels."""

    def __init__(self) -> None:
        self.numbering = Numbering()
        self.order = Order()
        self.order.number_by(self.numbering)
        self.files: dict[str, Files] = {}
        # Files are told apart by their identity, so none may be freed.
        self.all: list[Files] = []

    def publish(self, **numbers: Generation | None) -> Moment:
        """Publish new files of labels, numbered or not."""
        for label, number in numbers.items():
            self.files[label] = Files({})
            self.all.append(self.files[label])
            if number is not None:
                self.numbering.known[id(self.files[label])] = number
        moment = Moment()
        self.order.commit(Tree(dict(self.files)), moment)
        return moment

    def number(self, label: str, number: Generation) -> None:
        """Number the newest files of a label, late."""
        self.numbering.known[id(self.files[label])] = number
        self.numbering.changed()

    def of(self, moment: Moment, key: Key = KEY) -> Generation | None:
        """The generation of a document that came with a publication and hasn't changed since."""
        return self.order.generation(Config(key, "v", b"{}", (), published=moment))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_without_a_cluster_nothing_has_a_generation_and_no_client_is_ahead() -> None:
    order, moment = Order(), Moment()
    order.begin(Tree({}))
    order.commit(Tree({"main": Files({})}), moment)

    assert not order.is_kept
    assert order.generation(Config(KEY, "v", b"{}", (), published=moment)) is None
    assert order.current("main") is None
    assert not order.is_ahead(KEY, generation(9), lambda: False)


def test_publications_are_counted(stage: Stage) -> None:
    assert [1, 2, 3] == [stage.publish(main=None).sequence for _ in range(3)]


async def test_the_cluster_is_asked_before_a_publication(stage: Stage) -> None:
    tree = Tree({})
    stage.order.begin(tree)
    await stage.order.settle(tree)

    assert [("begin", tree), ("settle", tree)] == stage.numbering.asked
    assert stage.order.is_kept


def test_a_document_keeps_the_generation_of_the_publication_that_brought_it(stage: Stage) -> None:
    first, second = stage.publish(main=generation(5)), stage.publish(main=generation(7))

    assert (generation(5), generation(7)) == (stage.of(first), stage.of(second))
    assert generation(7) == stage.order.current("main")


def test_each_label_has_its_own_numbers(stage: Stage) -> None:
    first = stage.publish(main=generation(5), old=generation(2))
    second = stage.publish(main=generation(7))

    assert (generation(2), generation(2)) == (stage.of(first, OTHER), stage.of(second, OTHER))
    assert generation(2) == stage.order.current("old")
    assert stage.of(first, Key("billing", "prod", "none")) is None


def test_a_key_of_several_labels_has_none(stage: Stage) -> None:
    moment = stage.publish(main=generation(5), old=generation(2))

    assert stage.of(moment, Key("billing", "prod", "main,old")) is None


def test_a_pinned_key_has_none_because_its_content_is_that_of_no_publication(stage: Stage) -> None:
    moment = stage.publish(main=generation(5))
    members = KEY, "0" * 16, b"{}", (), None, None, moment

    assert generation(5) == stage.order.generation(Config(*members))
    assert stage.order.generation(PinnedConfig(*members, pinned=Term(1.0))) is None


def test_a_publication_without_a_number_gets_it_later(stage: Stage) -> None:
    first, second = stage.publish(main=generation(5)), stage.publish(main=None)
    assert (generation(5), None, None) == (stage.of(first), stage.of(second), stage.order.current("main"))
    stage.number("main", generation(8))

    assert (generation(5), generation(8)) == (stage.of(first), stage.of(second))
    assert generation(8) == stage.order.current("main")


def test_a_publication_that_never_got_a_number_takes_that_of_a_later_one(stage: Stage) -> None:
    first = stage.publish(main=generation(5))
    unnumbered, last = stage.publish(main=None), stage.publish(main=None)
    stage.number("main", generation(9))

    assert [generation(5), generation(9), generation(9)] == [stage.of(each) for each in (first, unnumbered, last)]


def test_a_label_that_goes_back_has_no_number_until_it_has_a_higher_one(stage: Stage) -> None:
    """A client that has a state with a higher number would ignore a change with the number that the state had before."""
    first, second = stage.publish(main=generation(5)), stage.publish(main=generation(6))
    back = stage.publish(main=generation(5))
    assert (generation(5), generation(6), None) == (stage.of(first), stage.of(second), stage.of(back))
    assert generation(5) == stage.order.current("main")
    stage.number("main", generation(7))

    assert (generation(7), generation(7)) == (stage.of(back), stage.order.current("main"))


def test_a_label_that_goes_back_has_no_number_if_the_old_one_is_known_late(stage: Stage) -> None:
    stage.publish(main=generation(6))
    back = stage.publish(main=None)
    stage.number("main", generation(5))

    assert stage.of(back) is None
    newer = stage.publish(main=generation(7))
    assert (generation(7), generation(7)) == (stage.of(newer), stage.of(back))


def test_the_same_number_again_is_no_step_back(stage: Stage) -> None:
    stage.publish(main=generation(5))
    stage.publish(main=None)

    assert generation(5) == stage.of(stage.publish(main=generation(5)))


def test_a_lower_number_of_another_epoch_is_no_step_back(stage: Stage) -> None:
    stage.publish(main=generation(5))

    assert generation(1, "f") == stage.of(stage.publish(main=generation(1, "f")))


def test_a_new_epoch_replaces_all_numbers_of_the_former_one(stage: Stage) -> None:
    first, second = stage.publish(main=generation(5)), stage.publish(main=generation(7))
    stage.number("main", generation(3, "f"))

    assert {generation(3, "f")} == {stage.of(first), stage.of(second), stage.order.current("main")}


def test_only_the_newest_numbers_are_remembered(stage: Stage) -> None:
    moments = [stage.publish(main=generation(number)) for number in range(1, 100)]

    # The oldest documents take the oldest number that is known, which holds for them as well.
    assert generation(36) == stage.of(moments[0]) == stage.of(moments[35])
    assert generation(37) == stage.of(moments[36])


def test_a_label_that_is_gone_is_forgotten(stage: Stage) -> None:
    stage.publish(main=generation(5), old=generation(2))
    del stage.files["old"]
    moment = stage.publish(main=generation(6))

    assert (None, None) == (stage.order.current("old"), stage.of(moment, OTHER))


def test_a_reload_that_changes_documents_keeps_the_number_of_their_label(stage: Stage) -> None:
    stage.publish(main=generation(5))

    assert generation(5) == stage.of(stage.publish())


# Clients that are ahead.


def is_ahead(stage: Stage, claimed: Generation | None, *, is_known: bool = False) -> bool:
    return stage.order.is_ahead(KEY, claimed, lambda: is_known)


def test_a_higher_number_of_the_same_epoch_is_ahead(stage: Stage) -> None:
    stage.publish(main=generation(5))

    assert [False, False, True] == [is_ahead(stage, generation(number)) for number in (4, 5, 6)]
    # The number decides, whatever else is known.
    stage.numbering.behind.add("main")
    assert not is_ahead(stage, generation(5))
    assert is_ahead(stage, generation(6), is_known=True)


@pytest.mark.parametrize("claimed", [None, generation(99, "f")], ids=["no claim", "another epoch"])
def test_without_a_number_that_compares_an_unknown_version_is_ahead_of_a_server_that_is_behind(
    stage: Stage, claimed: Generation | None
) -> None:
    stage.publish(main=generation(5))
    assert not is_ahead(stage, claimed)
    stage.numbering.behind.add("main")

    assert is_ahead(stage, claimed)
    assert not is_ahead(stage, claimed, is_known=True)


def test_a_server_without_a_number_of_its_own_looks_at_the_version(stage: Stage) -> None:
    stage.publish(main=None)
    assert not is_ahead(stage, generation(9))
    stage.numbering.behind.add("main")

    assert is_ahead(stage, generation(9))
    assert not is_ahead(stage, generation(9), is_known=True)


async def test_who_waits_is_woken_by_numbers_and_publications(autojump_clock: MockClock, stage: Stage) -> None:
    woken: list[str] = []

    async def wait(name: str) -> None:
        await stage.order.wait_changed()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "publication")
        await wait_all_tasks_blocked()
        stage.publish(main=None)
        await wait_all_tasks_blocked()
        assert ["publication"] == woken
        nursery.start_soon(wait, "number")
        await wait_all_tasks_blocked()
        stage.number("main", generation(1))
        await wait_all_tasks_blocked()
        assert ["publication", "number"] == woken
        nursery.start_soon(wait, "behind")
        await wait_all_tasks_blocked()
        stage.numbering.changed()
    assert ["publication", "number", "behind"] == woken
