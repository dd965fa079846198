"""Judges a report of the Autobahn test suite: `python -m tests.autobahn.verdict INDEX LOG`."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
GOOD_CLOSE = {"OK", "INFORMATIONAL"}


def main(index: Path, log: Path) -> int:
    """Print a line per group and per bad case. Returns the exit status."""
    # The suite ends well with an empty report, too: what it announced has to be there.
    announced = re.search(r"will run (\d+) test cases", log.read_text()) if log.exists() else None
    cases = json.loads(index.read_text())["vortexd"] if index.exists() else {}
    groups: dict[int, Counter[str]] = {}
    bad = 0
    for case, result in sorted(cases.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        groups.setdefault(int(case.partition(".")[0]), Counter())[result["behavior"]] += 1
        if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD_CLOSE:
            bad += 1
            print(f"{case}: {result['behavior']}, close {result['behaviorClose']}, code {result['remoteCloseCode']}")
    for group, counts in groups.items():
        print(f"group {group}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    wanted = int(announced[1]) if announced else 0
    if not wanted or len(cases) != wanted:
        print(f"{len(cases)} of {wanted} cases have run")
        return 1
    print(f"{len(cases) - bad} of {wanted} cases passed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
