"""Text from outside, made fit for one line of a log or a terminal."""


def printable(text: str) -> str:
    """Escape what would break a line or steer a terminal: controls, separators, bidirectional marks, lone surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
