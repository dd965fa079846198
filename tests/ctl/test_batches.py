"""Files that several processes have parsed have the same results as files that this process parses."""

import itertools
import marshal
import os
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from vortexd.aio.isolated import Died, Exceeded, Unavailable
from vortexd.core.errors import FormatError
from vortexd.core.model import Files, Tree
from vortexd.ctl import batches
from vortexd.ctl.batches import BATCH_BYTES, MANY_BYTES, batches_of, parsed_in_processes, small_files, work
from vortexd.pipeline.parsing import SMALL_BYTES, SMALL_NODES
from vortexd.resolve.formats import Document, parse
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

LIMITS = FormatSettings()
FILES = {
    "application.yml": b"a: 1\nb: [x, {c: 2.5}]\n---\nspring.config.activate.on-profile: '(a | b) & !c, d'\nb: ''\n",
    "cloud.yml": b"spring.config.activate.on-cloud-platform: x\nb: 2",
    "groups.yml": b"spring.profiles.group: {p: [x, y]}\nspring.config.import: [b.yml, c.yml]\n",
    "shop.yml": b"a: [1\n",
    "q.properties": b"x[20000]=1\n",
    "odd.json": b'{"a": 1, "a": 2}',
    "deep.toml": b"a = 1\nb = \n",
    "big.json": b'{"a": -9223372036854775808}',
    "empty.yml": b"",
    "latin.yml": b"a: \xe9\n",
}
COSTLY = b"".join(b"k%d: 1\n" % number for number in range(SMALL_NODES))


def tree(files: dict[str, bytes]) -> Tree:
    return Tree({"main": Files(files)}, "main")


def compared(documents: tuple[Document, ...]) -> list[object]:
    return [
        (list(each.values.items()), dict(each.origins), each.profiles, list(each.profile_keys.items()), each.imports)
        for each in documents
    ]


def outcome(parse_file: Any, path: str, content: bytes, limits: FormatSettings = LIMITS) -> object:
    try:
        return compared(parse_file(path, content, limits))
    except FormatError as error:
        return error.path, error.reason, error.line, error.column


class Here:
    """Parses in this process, and remembers the paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def parse(self, path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        self.paths.append(path)
        return parse(path, content, limits)


class Fake:
    """In place of `Isolated`: works in this process."""

    made: "list[Fake]"
    # The errors of the next requests of all processes.
    errors: list[Exception]

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.asked: list[list[str]] = []
        self.is_closed = self.is_killed = False
        Fake.made.append(self)

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def ask(self, request: Any, content: bytes) -> Iterator[Any]:
        self.asked.append([path for path, _ in request[1]])
        if Fake.errors:
            raise Fake.errors.pop(0)
        for value in work(marshal.loads(marshal.dumps(request)), content):
            yield marshal.loads(marshal.dumps(value))

    def kill(self) -> None:
        self.is_killed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    Fake.made, Fake.errors = [], []
    monkeypatch.setattr(batches, "Isolated", Fake)
    return Fake.made


def test_processes_find_the_same_documents_and_errors() -> None:
    here = Here()

    parse_file = parsed_in_processes(tree(FILES), LIMITS, here.parse, processes=2, many_bytes=0)

    for path, content in FILES.items():
        assert outcome(parse, path, content) == outcome(parse_file, path, content)
    assert [] == here.paths


def test_a_tree_of_known_files_is_parsed_as_any_tree(made: list[Fake]) -> None:
    parse_file = parsed_in_processes(tree(FILES), LIMITS, parse, processes=2, many_bytes=0)

    (expected,) = parse_tree(tree(FILES), LIMITS).labels.values()
    (found,) = parse_tree(tree(FILES), LIMITS, parse_file=parse_file).labels.values()
    assert list(expected.documents) == list(found.documents)
    assert [str(each) for each in expected.broken.values()] == [str(each) for each in found.broken.values()]


def test_large_and_costly_files_are_parsed_as_before(made: list[Fake]) -> None:
    files = {
        "large.yml": b"a: 1\n".ljust(SMALL_BYTES + 1, b"\n"),
        "small.yml": b"a: 1\n".ljust(SMALL_BYTES, b"\n"),
        "costly.yml": COSTLY,
        "cheap.yml": COSTLY[:-7],
    }
    here = Here()

    parse_file = parsed_in_processes(tree(files), LIMITS, here.parse, processes=2, many_bytes=0)

    for path, content in files.items():
        assert outcome(parse, path, content) == outcome(parse_file, path, content)
    assert ["large.yml", "costly.yml"] == here.paths


def test_a_file_beyond_the_limit_of_values_is_refused_as_before(made: list[Fake]) -> None:
    limits = FormatSettings(nodes=2)
    here = Here()

    parse_file = parsed_in_processes(tree({"a.yml": b"[1, 2]"}), limits, here.parse, processes=2, many_bytes=0)

    assert ("a.yml", "more than 2 values; split the file", 1, 5) == outcome(parse_file, "a.yml", b"[1, 2]", limits)
    assert ["a.yml"] == here.paths


def test_unknown_content_is_parsed_as_before(made: list[Fake]) -> None:
    here = Here()

    parse_file = parsed_in_processes(tree({"a.yml": b"a: 1"}), LIMITS, here.parse, processes=2, many_bytes=0)

    assert outcome(parse, "a.yml", b"a: 2") == outcome(parse_file, "a.yml", b"a: 2")
    assert ["a.yml"] == here.paths


@pytest.mark.parametrize(("processes", "size", "count"), [(1, 100, 0), (2, 99, 0), (2, 100, 2), (3, 101, 3)])
def test_processes_start_for_many_bytes_and_several_processors(
    made: list[Fake], processes: int, size: int, count: int
) -> None:
    found = parsed_in_processes(
        tree({"a.yml": b"a: 1".ljust(size)}), LIMITS, parse, processes=processes, many_bytes=100
    )

    assert (count, count == 0) == (len(made), found is parse)


def test_by_default_each_processor_has_a_process_up_to_a_limit(
    made: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    files = {f"a{number}.yml": b"a: 1".ljust(SMALL_BYTES) for number in range(MANY_BYTES // SMALL_BYTES)}
    assert parse is not parsed_in_processes(tree(files), LIMITS, parse)
    assert 3 == len(made)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(100)))
    parsed_in_processes(tree(files), LIMITS, parse)
    assert 3 + 8 == len(made)

    del files["a0.yml"]
    assert parse is parsed_in_processes(tree(files), LIMITS, parse)


def test_processes_have_the_limits_of_the_settings_and_end(made: list[Fake]) -> None:
    limits = FormatSettings(memory_bytes=67_108_864, cpu_seconds=3)

    parsed_in_processes(tree({"a.yml": b"a: 1"}), limits, parse, processes=2, many_bytes=0)

    assert [("vortexd.ctl.batches", 67_108_864, 3)] * 2 == [each.arguments for each in made]
    assert all(each.is_closed and each.is_killed for each in made)


@pytest.mark.parametrize("error", [Exceeded("takes too long"), Died("was killed")])
def test_the_files_of_a_failed_batch_are_parsed_as_before(made: list[Fake], error: Exception) -> None:
    files = {f"a{number}.yml": b"a: 1".ljust(BATCH_BYTES) for number in range(4)}
    Fake.errors = [error]
    here = Here()

    parse_file = parsed_in_processes(tree(files), LIMITS, here.parse, processes=2, many_bytes=0)

    for path, content in files.items():
        assert outcome(parse, path, content) == outcome(parse_file, path, content)
    assert 1 == len(here.paths)
    assert 4 == sum(len(each.asked) for each in made)


def test_without_processes_all_files_are_parsed_as_before(made: list[Fake]) -> None:
    files = {f"a{number}.yml": b"a: 1".ljust(BATCH_BYTES) for number in range(4)}
    Fake.errors = [Unavailable("no process") for _ in range(2)]
    here = Here()

    parse_file = parsed_in_processes(tree(files), LIMITS, here.parse, processes=2, many_bytes=0)

    for path, content in files.items():
        assert outcome(parse, path, content) == outcome(parse_file, path, content)
    assert list(files) == here.paths
    assert [1, 1] == [len(each.asked) for each in made]


def test_after_an_interrupt_no_process_goes_on(made: list[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parsed_in_processes(tree({"a.yml": b"a: 1"}), LIMITS, parse, processes=2, many_bytes=0)
    assert [True, True] == [each.is_killed for each in made]


def test_each_configuration_file_of_all_labels_and_sources_counts_once() -> None:
    files = Files({"a.yml": b"a: 1", "notes.txt": b"x", ".hidden.yml": b"x", "sub/b.yml": b"b: 1"})
    beside = attrs.evolve(files, others=(Files({"a.yml": b"a: 1", "c.yml": b"c: 1"}),))
    other = Files({"a.yml": b"a: 2", "b.yml": b"b: 1", "x/b.yml": b"b: 2"}, locations=("x/",))

    found = list(small_files(Tree({"one": files, "two": beside, "three": other}, "one")))

    assert [
        ("a.yml", b"a: 1"),
        ("sub/b.yml", b"b: 1"),
        ("c.yml", b"c: 1"),
        ("x/b.yml", b"b: 2"),
    ] == found


def test_a_batch_ends_when_it_is_large_enough() -> None:
    sizes = [BATCH_BYTES - 1, 1, BATCH_BYTES, 1, 1]
    files = [(str(number), bytes(size)) for number, size in enumerate(sizes)]

    assert [["0", "1"], ["2"], ["3", "4"]] == [[path for path, _ in batch] for batch in batches_of(files)]
    assert [] == list(batches_of([]))


def test_the_results_of_a_batch_are_one_value_in_the_order_of_its_files() -> None:
    request = attrs.asdict(LIMITS), [("a.yml", 4), ("b.yml", 0), ("c.yml", 5), ("d.yml", len(COSTLY))]

    (results,) = work(request, b"a: 1c: [1" + COSTLY)

    assert [
        ("documents", [({"a": 1}, {"a": (1, 4)}, None, {}, ())]),
        ("documents", []),
        ("broken", ("not YAML: did not find expected ',' or ']'", 1, 4)),
        None,
    ] == results


def test_batches_are_taken_one_after_the_other(made: list[Fake]) -> None:
    files = {f"a{number}.yml": b"a: 1".ljust(BATCH_BYTES) for number in range(20)}

    parsed_in_processes(tree(files), LIMITS, parse, processes=4, many_bytes=0)

    assert sorted([each] for each in files) == sorted(itertools.chain(*(each.asked for each in made)))
