"""The problems of a document that doesn't fit a model: where, what, and in which line of which file. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..core.text import printable
from .paths import Element

# As many as a person reads. An acknowledgement has room for about 4,000 characters.
_MOST_REPORTED = 20
_MAX_QUOTED = 40
_SECRET = re.compile("pass|secret|token|key|credential|private|auth", re.IGNORECASE)


@attrs.frozen
class Problem:
    """One value that doesn't fit.

    Attributes:
        key: The path of the value in the document. "" for the whole document.
        message: What is wrong, without values, for the log and for other people.
        detail: The same for the program itself. It may quote the value.
        place: The file and the line, such as `application-prod.yml:12`. None if they aren't known.
    """

    key: str
    message: str
    detail: str
    place: str | None = None

    def text(self, words: str) -> str:
        """Return one line with the key and the place."""
        return printable(f"{self.key or 'the configuration'}: {words}{f' ({self.place})' if self.place else ''}")


class BindError(ValueError):
    """A document doesn't fit a model. The text has one line for each problem, and may quote values.

    Attributes:
        problems: All problems.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(each.text(each.detail) for each in self.problems))

    @property
    def reason(self) -> str:
        """The problems on one line, without values. If there are many, only the first ones."""
        texts = [each.text(each.message) for each in self.problems[:_MOST_REPORTED]]
        if more := len(self.problems) - len(texts):
            texts.append(f"and {more} more")
        return "; ".join(texts)

    @property
    def wanted(self) -> str:
        """The flat key that holds all keys with problems, or "" for the whole document."""
        keys = [_without_index(each.key) for each in self.problems]
        common = keys[0]
        while common and not all(is_below(key, common) for key in keys):
            common = common[: max(common.rfind("."), common.rfind("["), 0)]
        return common

    def located(self, places: Mapping[str, str]) -> "BindError":
        """Return the same problems with the places of their keys."""
        return BindError(attrs.evolve(each, place=each.place or _place(each.key, places)) for each in self.problems)


def is_below(key: str, wanted: str) -> bool:
    """Whether a flat key is the wanted key or is below it, as the server decides it."""
    return key.startswith(wanted) and key[len(wanted) : len(wanted) + 1] in ("", ".", "[")


def quoted(path: tuple[Element, ...], value: Any) -> str:
    """Quote a value before words about it. "" if it is long or no scalar, or if its name suggests a secret."""
    is_secret = any(isinstance(element, str) and _SECRET.search(element) for element in path)
    if is_secret or not isinstance(value, str | int | float | bool | None):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"{text} " if len(text) <= _MAX_QUOTED else ""


def _place(key: str, places: Mapping[str, str]) -> str | None:
    return places.get(key) or places.get(_without_index(key))


def _without_index(key: str) -> str:
    """Return the key of the list. Its items have no keys of their own if a text with commas is the list."""
    return key[: key.rindex("[")] if key.endswith("]") else key
