"""Resolves the placeholders `${key}` and `${key:default}` in texts, as Spring does for its responses.

Each placeholder is replaced with a value from the property sources of the response. Keys, defaults and values may contain
placeholders themselves. If a key doesn't exist and has no default, its placeholder stays. `\\${key}` yields `${key}`
literally. The values come only from these property sources, never from the environment, a file or a property of this
process (ATTACKS Y12).

The effort is bounded, however the placeholders refer to each other.
"""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from ...core.errors import RemoteError
from ...core.model import PropertySource
from .scalars import text_of

# The deepest nesting: of placeholders in placeholders, and of values that refer to other values.
MAX_DEPTH = 32
# The most characters that may be found and written in place of placeholders, and the most steps. Each placeholder takes
# _PLACEHOLDER_STEPS, each part of a text and each colon takes one step, and _BRACES_A_STEP braces take one step. A million
# steps take one or two seconds.
MAX_FOUND = 10_485_760
MAX_STEPS = 1_000_000
_PLACEHOLDER_STEPS = 4
_BRACES_A_STEP = 4

_ESCAPED = re.compile(r"\\{1,2}\$\{")
# Replaces an escaped `${` while the others are resolved. Spring uses the same mask, so a text that contains it gives the
# same result.
_MASK = "$_{"
_BRACE = re.compile(r"[{}]")

_Find = Callable[[str], str | None]
# The positions at which the inside of a placeholder begins and ends.
_Inside = tuple[int, int]


class Unresolvable(RemoteError):
    """Placeholders refer to themselves, or take too much effort. Spring answers 400, too."""


class Placeholders:
    """Resolves placeholders from property sources, highest precedence first.

    All texts that one object resolves share one limit of effort.
    """

    def __init__(self, sources: Sequence[PropertySource]) -> None:
        self._sources = sources
        self._found = 0
        self._steps = 0
        self._under_way: set[str] = set()

    def in_text(self, text: str) -> str:
        """Resolve a whole text, such as the text of a file.

        Raises:
            Unresolvable: The placeholders can't be resolved.
        """
        return self._resolved(text, self._find) if "${" in text else text

    def in_value(self, value: str) -> str:
        """Resolve one value. Keys in it may have blanks around them.

        Raises:
            Unresolvable: The placeholders can't be resolved.
        """
        return self._resolved(value, lambda key: self._find(key.strip())) if _has_placeholder(value) else value

    def _find(self, key: str) -> str | None:
        for source in self._sources:
            if key in source.values:
                return text_of(source.values[key])
        return None

    def _resolved(self, text: str, find: _Find) -> str:
        return self._text(_ESCAPED.sub(_MASK, text), find, 0).replace(_MASK, "${")

    def _text(self, text: str, find: _Find, depth: int) -> str:
        return _Text(self, text, find, depth).written(0, len(text))

    def charge(self, *, steps: int = 0, found: int = 0) -> None:
        """Count steps, and characters that were found or written.

        Raises:
            Unresolvable: A limit is exceeded.
        """
        self._steps += steps
        self._found += found
        if self._steps > MAX_STEPS or self._found > MAX_FOUND:
            raise Unresolvable("the placeholders take too much effort")

    def value(self, key: str, find: _Find, depth: int) -> str | None:
        """Find the value of a key, and resolve the placeholders in it. Returns None if the key doesn't exist."""
        value = find(key)
        self.charge(steps=_PLACEHOLDER_STEPS, found=len(value or ""))
        if value is None or "${" not in value:
            return value
        if key in self._under_way:
            raise Unresolvable("placeholders refer to each other in a circle")
        self._under_way.add(key)
        written = self._text(value, find, depth)
        self._under_way.remove(key)
        self.charge(found=len(written))
        return written


class _Text:
    """One text with its braces, and the placeholders in it."""

    def __init__(self, owner: Placeholders, text: str, find: _Find, depth: int) -> None:
        self._owner = owner
        self._text = text
        self._find = find
        self._depth = depth
        owner.charge(steps=(text.count("{") + text.count("}")) // _BRACES_A_STEP)
        self._ends = _ends_of(text)

    def written(self, start: int, end: int, nesting: int = 0) -> str:
        """Return a part of the text with its placeholders resolved."""
        return self._joined(self._parts(start, end), nesting)

    def _joined(self, parts: "Iterator[str | _Inside] | Sequence[str | _Inside]", nesting: int) -> str:
        return "".join(part if isinstance(part, str) else self._placeholder(*part, nesting + 1) for part in parts)

    def _parts(self, start: int, end: int) -> Iterator[str | _Inside]:
        at = start
        while (opening := self._text.find("${", at, end)) >= 0:
            self._owner.charge(steps=1)
            closing = self._ends.get(opening + 1)
            if closing is None:
                yield self._text[at : opening + 2]
                at = opening + 2
            elif opening > start and self._text[opening - 1] == "\\":
                yield self._text[at : opening - 1] + "${"
                at = opening + 2
            else:
                yield self._text[at:opening]
                yield opening + 2, closing
                at = closing + 1
        yield self._text[at:end]

    def _placeholder(self, start: int, end: int, nesting: int) -> str:
        if self._depth + nesting > MAX_DEPTH:
            raise Unresolvable(f"placeholders are nested deeper than {MAX_DEPTH} levels")
        whole = self._text[start:end]
        if "${" not in whole:
            key, default = self._key_and_default(whole)
            # A key may contain colons itself.
            value = self._value(whole, nesting) if key != whole else None
            value = self._value(key, nesting) if value is None else value
            return value if value is not None else default if default is not None else self._unresolved(key)
        keys: list[str | _Inside] = []
        defaults: list[str | _Inside] | None = None
        for part in self._parts(start, end):
            if defaults is not None:
                defaults.append(part)
            elif isinstance(part, str):
                name, rest = self._key_and_default(part)
                keys.append(name)
                defaults = None if rest is None else [rest]
            else:
                keys.append(part)
        key = self._joined(keys, nesting)
        value = self._value(key, nesting)
        if value is None:
            value = self._unresolved(key) if defaults is None else self._joined(defaults, nesting)
        return value

    def _unresolved(self, key: str) -> str:
        self._owner.charge(found=len(key))
        return f"${{{key}}}"

    def _key_and_default(self, text: str) -> tuple[str, str | None]:
        """Split a placeholder at its first colon that isn't escaped."""
        names, at = [], 0
        while (colon := text.find(":", at)) >= 0:
            self._owner.charge(steps=1)
            if colon > 0 and text[colon - 1] == "\\":
                names += [text[at : colon - 1], ":"]
                at = colon + 1
            else:
                return "".join((*names, text[at:colon])), text[colon + 1 :]
        return "".join((*names, text[at:])), None

    def _value(self, key: str, nesting: int) -> str | None:
        return self._owner.value(key, self._find, self._depth + nesting)


def _has_placeholder(value: str) -> bool:
    """Whether a value contains a `${` and a `}` with at least one character between them."""
    opening = value.find("${")
    while opening >= 0 and (closing := value.find("}", opening + 2)) >= 0:
        if closing > opening + 2:
            return True
        opening = value.find("${", closing)
    return False


def _ends_of(text: str) -> Mapping[int, int]:
    """Map the opening brace of each complete placeholder to its closing brace."""
    found: dict[int, int] = {}
    # A packed array, because there may be millions of braces.
    left = array("q")
    for match in _BRACE.finditer(text):
        at = match.start()
        if match[0] == "{":
            left.append(at)
        elif left and text[(opening := left.pop()) - 1 : opening] == "$":
            found[opening] = at
    return found
