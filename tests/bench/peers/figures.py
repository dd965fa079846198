"""From the samples of all rounds to Markdown tables: medians with the range. Pure."""

import statistics
from collections.abc import Sequence

import attrs

_NOTHING = "–"


@attrs.frozen
class Sample:
    """What one visit to a server measured. Times are in seconds.

    Attributes:
        idle_bytes: Private memory per idle connection.
        handshakes: Handshakes per second.
        handshake_cpu: The server's processor time for one of them.
        few_spread, many_spread: From the first client that a message reached to the last, with fewer and with more clients.
        few_whole, many_whole: From the trigger to the last client.
        few_cpu, many_cpu: The server's processor time for one message to one client.
        back: From the moment at which all clients come back until all are open.
        refused: How many connections were refused meanwhile.
    """

    idle_bytes: float
    handshakes: float
    handshake_cpu: float
    few_spread: float
    few_whole: float
    few_cpu: float
    many_spread: float
    many_whole: float
    many_cpu: float
    back: float
    refused: float


@attrs.frozen
class Row:
    """The figures of one server.

    Attributes:
        idle: The shares of a core that idle clients took.
        reason: Why it is not measured, or not to the end.
    """

    name: str
    version: str = ""
    samples: Sequence[Sample] = ()
    idle: Sequence[float] = ()
    reason: str = ""

    def values(self, field: str) -> list[float]:
        """Return the values of a field of the samples, or of `idle`."""
        return list(self.idle) if field == "idle" else [getattr(each, field) for each in self.samples]


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        field: A field of the samples, or "idle".
        factor: The values are shown in this many parts of a second, or of what they are.
        digits: Behind the point.
        ratio: The title of one more column, with the ratios to the floor. If it is empty, there is none.
    """

    title: str
    field: str
    factor: float = 1
    digits: int = 0
    ratio: str = ""


def summary(values: Sequence[float], digits: int = 0) -> str:
    """Return the median with the range, or a dash if there are no values."""
    if not values:
        return _NOTHING
    low, middle, high = (f"{each:,.{digits}f}" for each in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def ratios(values: Sequence[float], floor: Sequence[float]) -> list[float]:
    """Return the ratio of each value to the floor's of the same round. A round that only one of them has is left out."""
    return [one / other for one, other in zip(values, floor, strict=False)]


def windows(readings: Sequence[float], seconds: float) -> list[float]:
    """Return shares of one core, from readings of the processor time that are half a window apart.

    Args:
        seconds: The length of a window. Each begins half a window after the one before.
    """
    return [(later - earlier) / seconds for earlier, later in zip(readings, readings[2:], strict=False)]


def heartbeats(pongs: Sequence[float], clients: int) -> float:
    """Return how many heartbeats a client got in one interval: the median of all windows.

    Args:
        pongs: How many heartbeats of all clients were answered so far, at moments that are half an interval apart.
    """
    # A server may ping all clients at once. Only a whole interval then has one heartbeat of each.
    return statistics.median(windows(pongs, clients))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(rows: Sequence[Row], columns: Sequence[Column], floor: str, has_versions: bool) -> str:
    """Return all rows as a Markdown table. A row without figures has the reason in place of the version.

    Args:
        floor: The name of the row that ratios compare with.
        has_versions: Whether there is a column with the versions.
    """
    base = next((each for each in rows if each.name == floor), Row(floor))
    titles = ["Server", "Version"] if has_versions else ["Server"]
    for column in columns:
        titles += [column.title, column.ratio] if column.ratio else [column.title]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        cells = [row.name, _version(row)] if has_versions else [row.name]
        for column in columns:
            values = row.values(column.field)
            cells.append(summary([each * column.factor for each in values], column.digits))
            if column.ratio:
                cells.append(summary(ratios(values, base.values(column.field)), 2))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _version(row: Row) -> str:
    return row.version if row.samples or not row.reason else f"not measured: {row.reason}".replace("|", "\\|")


def notes(rows: Sequence[Row]) -> str:
    """Return a line for each row that has a reason and figures as well."""
    return "\n".join(
        f"- {each.name} is not measured to the end: {each.reason}." for each in rows if each.reason and each.samples
    )
