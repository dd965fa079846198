"""A finding of the gate, and a refusal, in the form in which people and programs see them. Pure.

The header `X-Vortex-Held-Back` names the findings because of which a key, or a whole label, keeps its former state.

The invariant: neither has a value of a document. A pointer has names of properties only.
"""

from collections.abc import Sequence
from typing import Any

import attrs

from ..core.broken_files import quoted
from ..core.errors import VortexdError
from ..core.model import Key

# At most this many findings of one document are looked for, and this many of one refusal are shown.
MOST_FINDINGS = 20
# The keyword of a finding whose rule is the operator's command, and of one whose rule can't be used.
COMMAND = "command"
SCHEMA = "schema"
HEADER = "X-Vortex-Held-Back"
# At most this many findings, and names of applications, because proxies limit the size of headers.
_IN_HEADER = 8


class Failure(VortexdError):
    """The gate couldn't judge, so it refuses. The text completes a sentence whose subject is the gate."""


@attrs.frozen(slots=True)
class Finding:
    """One rule that one key breaks.

    Attributes:
        key: The key.
        pointer: The place in the key's document, as a JSON Pointer (RFC 6901). "" is the whole document.
        keyword: The keyword of the schema, such as `required`; or `command`; or `schema` if the schema itself is unusable.
        rule: The name of the schema, or the name of the command's program.
        file: The file that decides about this place, below the root of its source, or None if no file does.
        line: The line in that file, from 1, or None if it isn't known.
        problem: Why the schema can't be used, as a fixed phrase without a value, if the keyword is `schema`. Otherwise None.
        is_former: Whether the rule is a schema of the served state that the new state has changed or deleted.
    """

    key: Key
    pointer: str
    keyword: str
    rule: str
    file: str | None = None
    line: int | None = None
    problem: str | None = None
    is_former: bool = False

    @property
    def place(self) -> str:
        """`file:line`, or only the file if the line isn't known, or "" if no file decides."""
        if self.file is None:
            return ""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def reason(self) -> str:
        """The rule and the place in the document, as a phrase; or why the schema can't be used."""
        if self.problem is not None:
            return f"{self.rule} can't be used: {self.problem}"
        former = " of the served state" if self.is_former else ""
        return f"{self.keyword} of {self.rule}{former} at {self.pointer or 'the top of the document'}"

    @property
    def members(self) -> dict[str, Any]:
        """The finding as members of a JSON object."""
        problem = {} if self.problem is None else {"problem": self.problem}
        former = {"rule_state": "served"} if self.is_former else {}
        return {
            "key": str(self.key),
            "pointer": self.pointer,
            "keyword": self.keyword,
            "rule": self.rule,
            "file": self.file,
            "line": self.line,
        } | {**problem, **former}

    def __str__(self) -> str:
        place = self.place
        return f"{self.key}: {self.reason}{f' ({place})' if place else ''}"


@attrs.frozen(slots=True)
class Refusal:
    """A state of a label that the gate holds back.

    Attributes:
        label: The label.
        state: The commit that is held back, or a digest of the files if their source has no commits.
        findings: The first findings.
        count: The number of all findings.
        failure: Why the gate couldn't judge, or None if it could.
        since: Since when this state is held back, in seconds since the epoch.
        applications: The applications that are held back, in order. If there is none, the whole label is held back.
    """

    label: str
    state: str
    findings: tuple[Finding, ...]
    count: int
    failure: str | None = None
    since: float = attrs.field(default=0.0, eq=False)
    applications: tuple[str, ...] = ()

    @property
    def members(self) -> dict[str, Any]:
        """The refusal as members of a JSON object, without the time."""
        scope = {"scope": "application", "applications": [*self.applications]} if self.applications else {}
        return scope | {
            "label": self.label,
            "state": self.state,
            "failure": self.failure,
            "findings_count": self.count,
            "findings": [each.members for each in self.findings],
        }


def refused_headers(refusals: Sequence[Refusal]) -> dict[str, str]:
    """Make the header for labels that are held back: a list of RFC 9651. If none is, there is no header.

    Each item is a percent-encoded label with parameters: `state`. If only applications are held back, it has `scope` and
    `applications`, the first ones, separated by spaces. A finding has `key`, `pointer`, `keyword`, `rule`,
    `file`, `problem`, `rule_state` and `line`, as far as they are known. The texts are percent-encoded. If the gate couldn't judge, it has `failed`.
    """
    items = [item for refusal in refusals for item in _items(refusal)]
    return {HEADER: ", ".join(items[:_IN_HEADER])} if items else {}


def _items(refusal: Refusal) -> Sequence[str]:
    head = f'"{quoted(refusal.label)}";state="{quoted(refusal.state)}"'
    if refusal.applications:
        head += f';scope="application";applications="{" ".join(map(quoted, refusal.applications[:_IN_HEADER]))}"'
    found = []
    for each in refusal.findings:
        texts = {"key": str(each.key), "pointer": each.pointer, "keyword": each.keyword, "rule": each.rule}
        if each.file is not None:
            texts["file"] = each.file
        if each.problem is not None:
            texts["problem"] = each.problem
        if each.is_former:
            texts["rule_state"] = "served"
        item = head + "".join(f';{name}="{quoted(text)}"' for name, text in texts.items())
        found.append(item if each.line is None else f"{item};line={each.line}")
    if refusal.failure is not None:
        found.append(f"{head};failed")
    return found or [head]


def pointer_of(steps: Sequence[str | int]) -> str:
    """Return steps into a document as a JSON Pointer."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
