"""Explains why a configuration may not follow its source: the gate holds back its label, or the configuration is pinned.

The headers of the server's answers arrive, and sentences for people leave. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

GATE, PINNED = "x-vortex-held-back", "vortexd-pinned"
HEADERS = (GATE, PINNED)
# An item of a list of RFC 9651: a string with parameters.
_ITEM = re.compile(r'"(?P<label>[^"]*)"(?P<more>(?:;[a-z]+(?:="[^"]*"|=[0-9]+)?)*)')
_PARAMETER = re.compile(r';(?P<name>[a-z]+)(?:="(?P<text>[^"]*)"|=(?P<number>[0-9]+))?')
_STATE = 12
# How many labels are named, at most.
_NAMED = 5


def sentences(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each label that the gate holds back, and one if the configuration is pinned.

    Args:
        headers: With names in lower case.
    """
    if held := headers.get(GATE):
        yield from held_back(held)
    if pinned := headers.get(PINNED):
        yield pin(pinned)


def held_back(header: str) -> Iterator[str]:
    """Yield a sentence for each label in the header of the gate, with its first finding."""
    seen: set[str] = set()
    for item in _ITEM.finditer(header):
        label = unquote(item["label"])
        if label in seen or len(seen) == _NAMED:
            continue
        seen.add(label)
        more = {
            each["name"]: unquote(each["text"] or each["number"] or "") for each in _PARAMETER.finditer(item["more"])
        }
        state = f"state {more['state'][:_STATE]}" if more.get("state") else "the newest state"
        # With this parameter, the gate holds back only some applications of the label.
        named = more.get("applications", "").split()[:_NAMED]
        only = f" for {', '.join(named)}" if named else ""
        yield (
            f"this configuration may be old: the server's gate holds back {state} of label {label}{only}{_why(more)}; "
            "see vortexctl gate"
        )
    if not seen:
        yield "this configuration may be old: the server's gate holds back the newest state of its label; see vortexctl gate"


def _why(more: Mapping[str, str]) -> str:
    if "failed" in more:
        return ", because the gate couldn't judge it"
    if "keyword" not in more:
        return ""
    place = ":".join(more[name] for name in ("file", "line") if more.get(name))
    return f", because {more.get('key', 'a key')} breaks {more['keyword']} of {more.get('rule', 'a rule')}" + (
        f" ({place})" if place else ""
    )


def pin(header: str) -> str:
    """Return the sentence for the header of a pin."""
    until = header.removeprefix("until=") if header.startswith("until=") else "somebody lifts the pin"
    return f"this configuration is pinned until {until}, so it doesn't follow its source; see vortexctl pins"
