"""From the samples of all rounds to a Markdown table: medians with the range. Pure."""

import statistics
from collections.abc import Sequence

import attrs


@attrs.frozen
class Sample:
    """What one visit to a server measured. Times are in seconds.

    Attributes:
        few_bytes, many_bytes: Private memory per idle connection, with fewer and with more of them.
        spread: From the first client that a message reached to the last.
        whole: From the trigger to the last client.
        message_cpu: The server's processor time for one message to one client.
        handshakes: Handshakes per second.
        handshake_cpu: The server's processor time for one of them.
        back: From the moment at which all clients come back until all are open.
        refused: How many connections were refused meanwhile.
    """

    few_bytes: float
    many_bytes: float
    spread: float
    whole: float
    message_cpu: float
    handshakes: float
    handshake_cpu: float
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


@attrs.frozen
class Column:
    """A column of the table, of one field of the samples.

    Attributes:
        factor: The values are shown in this many parts of a second, or of what they are.
        digits: Behind the point.
    """

    title: str
    field: str
    factor: float = 1
    digits: int = 0


def summary(values: Sequence[float], digits: int = 0) -> str:
    """Return the median with the range, or a dash if there are no values."""
    if not values:
        return "–"
    low, middle, high = (f"{each:,.{digits}f}" for each in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def ratios(samples: Sequence[Sample], floor: Sequence[Sample]) -> list[float]:
    """Return the ratio of each spread to the floor's of the same round. A round that only one of them has is left out."""
    return [one.spread / other.spread for one, other in zip(samples, floor, strict=False)]


def windows(readings: Sequence[float], seconds: float) -> list[float]:
    """Return shares of one core, from readings of the processor time that are half a window apart.

    Args:
        seconds: The length of a window. Each begins half a window after the one before.
    """
    return [(later - earlier) / seconds for earlier, later in zip(readings, readings[2:], strict=False)]


def table(rows: Sequence[Row], columns: Sequence[Column], floor: str, ratio: str, idle: str) -> str:
    """Return the rows that were measured as a Markdown table.

    Args:
        floor: The name of the row that `ratio` compares with.
        ratio: The title of the column behind the spread.
        idle: The title of the last column.
    """
    measured = [each for each in rows if each.samples]
    base = next((each.samples for each in measured if each.name == floor), ())
    titles = ["Server", "Version"]
    for column in columns:
        titles += [column.title, ratio] if column.field == "spread" else [column.title]
    titles.append(idle)
    lines = [titles, ["---"] * len(titles)]
    for row in measured:
        cells = [row.name, row.version]
        for column in columns:
            values = [getattr(each, column.field) * column.factor for each in row.samples]
            cells.append(summary(values, column.digits))
            if column.field == "spread":
                cells.append(summary(ratios(row.samples, base), 2))
        cells.append(summary([100 * each for each in row.idle], 2))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def absent(rows: Sequence[Row]) -> str:
    """Return a line for each row with a reason."""
    return "\n".join(
        f"- {each.name} is not measured, or not in all rounds: {each.reason}." for each in rows if each.reason
    )
