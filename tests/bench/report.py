"""Prints the figures of a benchmark."""

import statistics
from collections.abc import Sequence

from vortexd.source.files.settings import FilesSettings

# The default time that the files source waits after the last change of one file before it publishes.
DEBOUNCE = FilesSettings().quiet_one_file


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, p99 and maximum."""
    p99 = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
    return statistics.median(seconds), p99, max(seconds)


def report(name: str, seconds: Sequence[float]) -> None:
    """Print median, p99 and maximum in milliseconds."""
    milliseconds = [1_000 * value for value in percentiles(seconds)]
    print("{}: median {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms".format(name, *milliseconds))
