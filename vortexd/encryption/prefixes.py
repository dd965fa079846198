"""The prefixes by which a text says what key is meant for it, as Spring's `EnvironmentPrefixHelper` reads them. Pure.

    {key:alias}{secret:password}text    the key of that alias, which has that password
    {key:alias}{plain}{x:y}             the same, and the text is `{x:y}`

What Spring does with text that only looks like a prefix is done here, too, odd as some of it is: who moves from it finds what he had.
"""

from collections.abc import Mapping

_ESCAPE = "{plain}"
# Spring knows application and profiles of a value, and takes them from nobody else.
_ENVIRONMENT = ("{name:", "{profiles:")


def selectors(text: str) -> dict[str, str]:
    """What the prefixes of a text say, in order: `{"key": "alias"}`."""
    for opening in _ENVIRONMENT:
        text = _without_first(text, opening)
    text = text.partition(_ESCAPE)[0]
    found: dict[str, str] = {}
    for token in text.split("}")[:-1]:
        token = token.strip()
        if token.startswith("{"):
            name, _, value = token[1:].partition(":")
            if token.endswith(":"):
                name, value = token[1:], ""
            found[name] = value
    # Those that the environment has are never a text's own.
    return {name: value for name, value in found.items() if name not in ("name", "profiles")}


def strip(text: str) -> str:
    """A text without its prefixes."""
    _, escape, plain = text.partition(_ESCAPE)
    if escape:
        return plain
    start = 0
    while (end := _end_of_prefix(text, start)) is not None:
        start = end
    return text[start:]


def prefixed(found: Mapping[str, str], text: str) -> str:
    """A text with its `selectors` before it."""
    return "".join(f"{{{name}:{value}}}" for name, value in found.items()) + text


def _end_of_prefix(text: str, start: int) -> int | None:
    """Where a `{name:value}` ends that begins at a place; None where none does."""
    if not text.startswith("{", start):
        return None
    colon = text.find(":", start)
    end = text.find("}", colon) if colon >= 0 else -1
    return end + 1 if end >= 0 and "\n" not in text[start:end] else None


def _without_first(text: str, opening: str) -> str:
    """A text without the first stretch from an opening to the last `}` of its line."""
    start = text.find(opening)
    while start >= 0:
        line_end = text.find("\n", start)
        line_end = len(text) if line_end < 0 else line_end
        end = text.rfind("}", start, line_end)
        if end >= 0:
            return text[:start] + text[end + 1 :]
        start = text.find(opening, line_end)
    return text
