"""What a gate adds to a publication: 500 files and about 1,000 keys, in this process, with and without a gate.

Run it as `python -m tests.bench.gate`. The publications with and without the gate alternate. Each file has 35 values. In
one kind of publication every key changes, and in the other two keys do.
"""

import gc
import json
import logging
import statistics
import time
from collections.abc import Sequence
from functools import partial

import structlog
import trio

from vortexd.core.model import Files, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.gate.gate import Rules
from vortexd.gate.schemas import Schema

from ..wiring import Wired

_FILES = 500
_ROUNDS = 8
_SCHEMA = {
    "required": ["name", "port"],
    "properties": {
        "name": {"type": "string"},
        "port": {"type": "integer", "minimum": 1},
        "db": {"properties": {"url": {"type": "string", "pattern": "^jdbc:"}}},
        "debug": False,
    },
}


def tree(shared: int, one: int) -> Tree:
    """Make the files. `shared` is a value of all keys, and `one` is a value of two of them."""
    contents = {"application.yml": f"shared: {shared}\n", "application-prod.yml": "stage: prod\n"}
    rest = "".join(f"key{number}: value {number}\n" for number in range(30))
    for number in range(_FILES - len(contents)):
        head = f"name: app{number}\nport: {8_000 + number}\nvalue: {one if number == 7 else 0}\n"
        contents[f"app{number}.yml"] = f"{head}db:\n  url: jdbc:x{number}\n  pool: 5\n{rest}"
    return Tree({"main": Files({path: text.encode() for path, text in contents.items()}, root="file:/c/")}, "main")


async def measured(*, are_in_use: bool) -> dict[tuple[str, str], list[float]]:
    """Return the milliseconds of each kind of publication, with and without a gate."""
    rules = Rules((parse_pattern("*"),), {"s.json": Schema("s.json", json.dumps(_SCHEMA), "/s.json")})
    lines = {"without": Wired(), "with": Wired(rules=[rules])}
    for whole in lines.values():
        await whole.publisher.publish(tree(0, 0))
        for key in await whole.reader.keys() if are_in_use else ():
            whole.pipeline.hold(key)
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(1, _ROUNDS + 1):
        for name, whole in lines.items():
            for kind, given in (("all keys", tree(number, number)), ("two keys", tree(number, -number))):
                gc.collect()
                began = time.perf_counter()
                await whole.publisher.publish(given)
                found.setdefault((kind, name), []).append((time.perf_counter() - began) * 1_000)
                assert not whole.reader.refusals
    await lines["with"].publisher.judge_by(())
    return found


def row(kind: str, name: str, values: Sequence[float]) -> str:
    """Return one line of the result."""
    return f"{kind}, {name} the gate: {statistics.median(values):.1f} ms ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure, and print the result."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for are_in_use in (False, True):
        print("all keys are in use" if are_in_use else "no key is in use")
        found = trio.run(partial(measured, are_in_use=are_in_use))
        for (kind, name), values in sorted(found.items()):
            print("  " + row(kind, name, values))


if __name__ == "__main__":
    main()
