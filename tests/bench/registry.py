"""The cost of finding the subscribers of one change. It grows with the number of subscribers, not with the number of patterns.

python -m tests.bench registry
"""

import argparse
import random
import statistics
import time

from vortexd.core.model import Key
from vortexd.core.patterns import parse_pattern
from vortexd.pipeline.registry import Registry

ROUNDS = 200
# Many different patterns that match the same keys.
SPELLINGS = (
    "wanted",
    "wanted:dev",
    "wanted:*:main",
    "wan*",
    "w*:dev",
    "want*:d*",
    "*d:dev:m*",
    "wanted:dev:main",
    "w*d",
    "*ted:*v",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--patterns", type=int, default=10, help="of each subscriber")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    print("subscribers  patterns each  matches of the key  µs per change  ns per match")
    for subscribers, patterns, matching in (
        (arguments.subscribers, arguments.patterns, 10),
        (arguments.subscribers, arguments.patterns, 100),
        (arguments.subscribers, arguments.patterns, 1_000),
        (arguments.subscribers, 10 * arguments.patterns, 100),
        (arguments.subscribers // 10, arguments.patterns, 100),
    ):
        microseconds = measure(subscribers, patterns, matching)
        each = 1_000 * microseconds / matching
        print(f"{subscribers:11,}  {patterns:13}  {matching:18,}  {microseconds:13.1f}  {each:12.0f}")


def measure(subscribers: int, patterns: int, matching: int) -> float:
    """Return the median time of `Registry.subscribers` for a key with `matching` subscribers, in microseconds."""
    chosen = random.Random(1)
    registry: Registry[int] = Registry()
    wanted = Key("wanted", "dev", "main")
    others = [Key(f"application-{number}", "dev", "main") for number in range(1_000)]
    for key in (wanted, *others):
        registry.appear(key)
    for subscriber in range(subscribers):
        names = chosen.sample(range(1_000), patterns)
        for position, name in enumerate(names):
            is_match = subscriber < matching and position == 0
            pattern = SPELLINGS[subscriber % len(SPELLINGS)] if is_match else f"application-{name}:*:main"
            registry.subscribe(subscriber, parse_pattern(pattern))
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = registry.subscribers(wanted)
        seconds.append(time.perf_counter() - began)
    assert len(found) == matching
    return 1e6 * statistics.median(seconds)
