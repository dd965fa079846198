"""Writes scalars as Java does, for texts that Spring makes from values."""

from ...core.model import Scalar

# Double.toString writes numbers between these in decimal, and other numbers with an exponent.
_SMALL, _LARGE = 1e-3, 1e7


def text_of(value: Scalar) -> str:
    """Write a scalar as Java's `String.valueOf` does."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float(value) if isinstance(value, float) else str(value)


def _float(value: float) -> str:
    """Write a number as Double.toString does. The digits are the same as in Python, but the notation is Java's."""
    mantissa, _, exponent = repr(value).partition("e")
    if _SMALL <= abs(value) < _LARGE or value == 0:
        # Python writes no exponent in this range.
        return mantissa
    sign, digits = ("-", mantissa[1:]) if value < 0 else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    power = int(exponent or 0) + len(whole) - 1
    significant = whole + (fraction if fraction != "0" else "")
    if whole == "0":
        power -= len(significant) - len(significant.lstrip("0"))
    significant = significant.lstrip("0").rstrip("0") or "0"
    return f"{sign}{significant[0]}.{significant[1:] or '0'}E{power}"
