"""The patches of long lists, compared with the patches of jsonpatch and with the whole list: bytes and time over a history, and the worst time.

python -m tests.bench lists

The lists have the shapes and sizes of a catalogue of schemas and of a lock file. The worst cases have 10,000 elements; no diff of these may
take 50 ms. Times are processor times, the least of several rounds.
"""

import argparse
import copy
import itertools
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import jsonpatch
import orjson

from vortexd.core.diff import diff
from vortexd.core.version import encode

ROUNDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--versions", type=int, default=40, help="of each history")
    parser.add_argument("--elements", type=int, default=10_000, help="in the worst cases")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    random = Random(arguments.seed)
    print(
        "history                     messages  vortexd: bytes, max, ms  jsonpatch: bytes, max, ms  whole lists: bytes"
    )
    for name, history in (
        ("1,400 schemas, 2 edits", _history(catalogue(), arguments.versions, lambda each: two_edits(each, random))),
        ("550 packages, updates", _history(packages(random), arguments.versions, lambda each: update(each, random))),
        ("550 packages, all touched", _history(packages(random), 8, lambda each: touch(each, random))),
    ):
        report(name, [*history])
    print()
    print(f"worst case, {arguments.elements:,} elements    ms  operations      bytes  whole list")
    for name, old, new in worst(arguments.elements, random):
        seconds, patch = timed(lambda old=old, new=new: diff({"list": old}, {"list": new}))  # type: ignore[misc]  # defaults bind the loop variables
        size = len(orjson.dumps(patch))
        print(f"{name:30}  {1_000 * seconds:6.1f}  {len(patch):10,}  {size:9,}  {len(encode(new)):10,}")


def report(name: str, history: list[Any]) -> None:
    """Print the size and time of the messages of a history."""
    ours: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []
    whole = 0
    for old, new in itertools.pairwise(history):
        before, after = {"list": old}, {"list": new}
        for made, make in ((ours, diff), (theirs, lambda old, new: jsonpatch.make_patch(old, new).patch)):
            seconds, patch = timed(lambda make=make, before=before, after=after: make(before, after))  # type: ignore[misc]  # defaults bind the loop variables
            assert encode(after) == encode(jsonpatch.apply_patch(before, patch))
            made.append((len(orjson.dumps(patch)), seconds))
        whole += len(orjson.dumps(new))
    figures = [
        f"{sum(size for size, _ in made):9,} {max(size for size, _ in made):7,} "
        f"{1_000 * max(seconds for _, seconds in made):6.1f}"
        for made in (ours, theirs)
    ]
    print(f"{name:26}  {len(ours):8}  {figures[0]}  {figures[1]}  {whole:18,}")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least time of several rounds, in seconds, and the result."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        made = work()
        best = min(best, time.thread_time() - began)
    return best, made


def _history(first: list[Any], versions: int, edit: Callable[[list[Any]], None]) -> Iterator[list[Any]]:
    yield first
    for _ in range(versions):
        first = copy.deepcopy(first)
        edit(first)
        yield first


# The shapes.


def catalogue() -> list[Any]:
    """A catalogue of 1,400 schemas, of about 390 kB."""
    return [schema(number) for number in range(1_400)]


def schema(number: int) -> dict[str, Any]:
    """An entry of the catalogue."""
    return {
        "name": f"Tool {number}",
        "description": f"Configuration file of tool {number}, which is described in a sentence of some length",
        "fileMatch": [f"tool{number}.json", f".tool{number}rc", f"**/tool{number}/*.yml"],
        "url": f"https://schemas.example/tool-{number}/schema.json",
        "versions": {"1.0": f"https://schemas.example/tool-{number}/1.0.json"} if number % 3 == 0 else {},
    }


def two_edits(entries: list[Any], random: Random) -> None:
    """Change two entries; sometimes add or remove an entry."""
    for _ in range(2):
        entry = random.choice(entries)
        entry["url"] = f"https://schemas.example/{random.randrange(10**6)}.json"
    if random.random() < 0.3:
        entries.insert(random.randrange(len(entries)), schema(random.randrange(10_000, 99_999)))
    if random.random() < 0.1:
        del entries[random.randrange(len(entries))]


def packages(random: Random) -> list[Any]:
    """The packages of a lock file, sorted by name."""
    return [package(random, number) for number in range(0, 5_500, 10)]


def package(random: Random, number: int) -> dict[str, Any]:
    """A package of the lock file."""
    made = {
        "name": f"node_modules/package-{number:05}",
        "license": random.choice(["MIT", "ISC", "BSD-3-Clause"]),
        "engines": {"node": random.choice([">=10", ">=12", ">=18"])},
        "dependencies": {f"package-{random.randrange(5_500):05}": "^1.0.0" for _ in range(random.randrange(5))},
    }
    release(made, random)
    return made


def release(made: dict[str, Any], random: Random) -> None:
    """Change the version of a package."""
    version = f"{random.randrange(9)}.{random.randrange(30)}.{random.randrange(9)}"
    made["version"] = version
    made["resolved"] = f"https://packages.example/{made['name']}-{version}.tgz"
    made["integrity"] = f"sha512-{random.randbytes(48).hex()}"


def update(entries: list[Any], random: Random) -> None:
    """Update several packages, some next to each other; their dependencies are added and removed."""
    at = random.randrange(len(entries) - 5)
    for index in (
        *range(at, at + random.randrange(1, 4)),
        *random.sample(range(len(entries)), random.randrange(1, 12)),
    ):
        release(entries[index], random)
    for _ in range(random.randrange(4)):
        place = random.randrange(len(entries))
        entries.insert(place, package(random, int(entries[place]["name"][-5:]) * 10 + 1))
    for _ in range(random.randrange(3)):
        del entries[random.randrange(len(entries))]


def touch(entries: list[Any], random: Random) -> None:
    """Change a little of every package, and add one."""
    flag = random.randrange(10**6)
    for entry in entries:
        entry["engines"]["checked"] = flag
    entries.insert(random.randrange(len(entries)), package(random, random.randrange(10_000, 99_999)))


def worst(count: int, random: Random) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """The worst cases: lists with changes in many places, or with elements that are hard to distinguish."""
    numbers = [*range(count)]
    entries = [schema(number) for number in numbers]
    yield "equal", entries, copy.deepcopy(entries)
    yield "numbers: all different", numbers, [*range(count, 2 * count)]
    yield "numbers: reversed", numbers, numbers[::-1]
    yield "numbers: shuffled", numbers, random.sample(numbers, count)
    yield "numbers: as floats", numbers, [float(number) for number in numbers]
    old, flags = ([random.random() < 0.5 for _ in numbers] for _ in range(2))
    yield "true and false", old, flags
    flags = [random.random() < 0.5 for _ in numbers]
    yield "true and false: 60 edits", flags, _edited(flags, 60, random, lambda: random.random() < 0.5)
    digits = [random.randrange(10) for _ in numbers]
    yield "digits: 60 edits", digits, _edited(digits, 60, random, lambda: random.randrange(10))
    yield "two blocks exchanged", [0] * count + [1] * count, [1] * count + [0] * count
    yield "objects: all different", entries, [schema(number) for number in range(count, 2 * count)]
    yield "objects: reversed", entries, entries[::-1]
    yield "objects: shuffled", entries, random.sample(entries, count)
    yield "objects: 600 edited", entries, _touched(entries, random.sample(numbers, min(600, count)))
    yield "objects: all edited", entries, _touched(entries, numbers)
    for length in (10, 100):
        lists = [entries[at : at + length] for at in range(0, count, length)]
        yield f"lists of {length}: reversed", lists, [each[::-1] for each in lists]
        yield f"lists of {length}: an edit each", lists, [_touched(each, [1]) for each in lists]
    yield "lists in lists: 60 deep", _nested(entries, 60), _nested(entries[::-1], 60)


def _edited(values: list[Any], count: int, random: Random, make: Callable[[], Any]) -> list[Any]:
    edited = [*values]
    for _ in range(count):
        if random.random() < 0.5:
            edited.insert(random.randrange(len(edited)), make())
        else:
            del edited[random.randrange(len(edited))]
    return edited


def _touched(entries: list[Any], places: list[int]) -> list[Any]:
    touched = copy.deepcopy(entries)
    for place in places:
        touched[place]["url"] = "https://schemas.example/"
    return touched


def _nested(value: Any, depth: int) -> list[Any]:
    for level in range(depth):
        value = [level, value, {"level": level}]
    return [value]
