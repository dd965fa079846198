"""The prefixes of a text that select its key, as Spring's `EnvironmentPrefixHelper` reads them. Pure.

    {key:alias}{secret:password}text    the key with this alias, which has this password
    {key:alias}{plain}{x:y}             the same key, and the text is `{x:y}`

If text only looks like a prefix, this module does the same as Spring, even where that is odd. So a configuration that
moves from Spring is read in the same way.
"""

from collections.abc import Mapping

_ESCAPE = "{plain}"
# Spring takes the application and the profiles from the environment, never from a text.
_ENVIRONMENT = ("{name:", "{profiles:")


def selectors(text: str) -> dict[str, str]:
    """Return the values in the prefixes of a text, in order: `{"key": "alias"}`."""
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
    # A text can't set the values that come from the environment.
    return {name: value for name, value in found.items() if name not in ("name", "profiles")}


def strip(text: str) -> str:
    """Remove the prefixes of a text."""
    _, escape, plain = text.partition(_ESCAPE)
    if escape:
        return plain
    start = 0
    while (end := _end_of_prefix(text, start)) is not None:
        start = end
    return text[start:]


def prefixed(found: Mapping[str, str], text: str) -> str:
    """Put `selectors` before a text."""
    return "".join(f"{{{name}:{value}}}" for name, value in found.items()) + text


def _end_of_prefix(text: str, start: int) -> int | None:
    """Return the end of the `{name:value}` that begins at `start`, or None if there is none."""
    if not text.startswith("{", start):
        return None
    colon = text.find(":", start)
    end = text.find("}", colon) if colon >= 0 else -1
    return end + 1 if end >= 0 and "\n" not in text[start:end] else None


def _without_first(text: str, opening: str) -> str:
    """Remove the first stretch from an opening to the last `}` of its line."""
    start = text.find(opening)
    while start >= 0:
        line_end = text.find("\n", start)
        line_end = len(text) if line_end < 0 else line_end
        end = text.rfind("}", start, line_end)
        if end >= 0:
            return text[:start] + text[end + 1 :]
        start = text.find(opening, line_end)
    return text
