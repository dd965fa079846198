"""Decides when a document is active: `spring.config.activate.on-profile`, and other keys of a file that control profiles.

`directives` takes the flat values of one document. It returns the document's condition and its `spring.profiles.*`
keys. An expression that can't be parsed is an error of its file, so a document is never active by mistake. Keys are
compared as Spring binds them: without regard to case, `-` and `_`.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from ..core.errors import FormatError
from ..core.model import Scalar
from .flatten import Origins, Values

_ON_PROFILE = re.compile(r"spring\.config\.activate\.onprofile(?:\[\d+\])?")
_ON_PLATFORM = re.compile(r"spring\.config\.activate\.oncloudplatform(?:[.\[].*)?", re.DOTALL)
_LEGACY = re.compile(r"spring\.profiles(?:\[\d+\])?")
_TOKEN = re.compile(r"\s*([()&|!]|[\w.+@-]+)\s*")
_MAX_EXPRESSION = 4_096
_MAX_NESTING = 32

# A profile's name, or ("!" | "&" | "|", operands).
Expression: TypeAlias = "str | tuple[str, tuple[Expression, ...]]"


@attrs.frozen(slots=True)
class Demand:
    """The condition under which a document is active.

    Attributes:
        any_of: The document is active if one of these holds. If it is for a cloud platform only, this is empty.
    """

    any_of: tuple[Expression, ...]

    def is_met(self, profiles: frozenset[str]) -> bool:
        """Return whether the document is active for these accepted profiles: the expanded profiles, or `default`."""
        return any(_holds(expression, profiles) for expression in self.any_of)


_NEVER = Demand(())


def canonical(key: str) -> str:
    """Return a key in the form in which Spring's binder compares keys."""
    if "[" in key:
        key = re.sub(r"\[([^\]\d][^\]]*)\]", r".\1", key)
    return key.lower().replace("-", "").replace("_", "")


def directives(path: str, values: Values, origins: Origins) -> tuple[Demand | None, Mapping[str, Scalar]]:
    """Return the condition of a document (None if it is always active), and its canonical `spring.profiles.*` keys.

    Raises:
        FormatError: An expression can't be parsed, or there is the key `spring.profiles`, which Spring has removed.
    """
    profile_keys: dict[str, Scalar] = {}
    expressions: list[Expression] = []
    is_for_platform = False
    for key, value in values.items():
        if key[:6].lower() != "spring":
            continue
        name = canonical(key)
        place = origins.get(key, (None, None))
        if _LEGACY.fullmatch(name):
            raise FormatError(path, "spring.profiles isn't supported; use spring.config.activate.on-profile", *place)
        if name.startswith("spring.profiles."):
            profile_keys[name] = value
        elif _ON_PLATFORM.fullmatch(name):
            is_for_platform = True
        elif _ON_PROFILE.fullmatch(name):
            expressions += _alternatives(path, value, place)
    if is_for_platform:
        return _NEVER, profile_keys
    return (Demand(tuple(expressions)) if expressions else None), profile_keys


def parse_expression(text: str) -> Expression:
    """Parse one profile expression: names, `!`, `&`, `|` and parentheses.

    Raises:
        ValueError: The text is invalid. The error says why.
    """
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError("a profile expression contains an invalid character")
        tokens.append(match[1])
        at = match.end()
    tokens.reverse()
    expression = _operands(tokens, 0)
    if tokens:
        raise ValueError("a closing parenthesis or a name is unexpected")
    return expression


def _alternatives(path: str, value: Scalar, place: tuple[int | None, int | None]) -> list[Expression]:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) > _MAX_EXPRESSION:
        raise FormatError(path, f"on-profile: longer than {_MAX_EXPRESSION} characters", *place)
    try:
        return [parse_expression(each) for each in text.split(",")]
    except ValueError as error:
        raise FormatError(path, f"on-profile: {error}", *place) from None


def _operands(tokens: list[str], nesting: int) -> Expression:
    # The end of the list is the next token. One level has one kind of operator, because Spring requires parentheses otherwise.
    operands = [_operand(tokens, nesting)]
    operator = None
    while tokens and tokens[-1] in "&|":
        if operator not in (None, tokens[-1]):
            raise ValueError("& and | are mixed without parentheses")
        operator = tokens.pop()
        operands.append(_operand(tokens, nesting))
    return (operator, tuple(operands)) if operator else operands[0]


def _operand(tokens: list[str], nesting: int) -> Expression:
    if nesting > _MAX_NESTING:
        raise ValueError(f"nested deeper than {_MAX_NESTING} levels")
    token = tokens.pop() if tokens else ""
    if token == "!":
        return "!", (_operand(tokens, nesting + 1),)
    if token == "(":
        inner = _operands(tokens, nesting + 1)
        if not tokens or tokens.pop() != ")":
            raise ValueError("a closing parenthesis is missing")
        return inner
    if token in ("", "&", "|", ")"):
        raise ValueError("the name of a profile is missing")
    return token


def _holds(expression: Expression, profiles: frozenset[str]) -> bool:
    if isinstance(expression, str):
        return expression in profiles
    operator, operands = expression
    if operator == "!":
        return not _holds(operands[0], profiles)
    return (all if operator == "&" else any)(_holds(each, profiles) for each in operands)


def written(expression: Expression) -> str:
    """Write an expression as text, in the form in which people write it."""
    if isinstance(expression, str):
        return expression
    operator, operands = expression
    texts = [written(each) if isinstance(each, str) or each[0] == "!" else f"({written(each)})" for each in operands]
    return "!" + texts[0] if operator == "!" else f" {operator} ".join(texts)
