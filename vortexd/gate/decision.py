"""A decision of the gate about one label, for the audit log. Pure.

The invariant: it has no value of a document. A finding has names of properties, rules and files only.
"""

import enum

import attrs

from .finding import Finding


class Kind(enum.Enum):
    """What the gate, or an administrator, has decided."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNJUDGED = "unjudged"
    RELEASED = "released"
    OVERRIDDEN = "overridden"
    # What is served already breaks the rules, because the schemas or the served state have changed.
    STANDING = "standing"


@attrs.frozen(slots=True)
class Person:
    """An administrator who lets a state through.

    Attributes:
        name: The name of the token, of the certificate or of the JWT's subject.
        kind: "token", "jwt", "certificate" or "anonymous".
        peer: The address of the client, or "unix".
    """

    name: str
    kind: str
    peer: str


@attrs.frozen(slots=True)
class Decision:
    """A decision about one label.

    Attributes:
        state: The state that it is about, as in `Refusal.state`, or None if the label is gone.
        findings: The first findings.
        count: The number of all findings.
        failure: Why the gate couldn't judge, or None if it could.
        person: The administrator, if the kind is OVERRIDDEN and this worker was asked. Other workers follow.
        reason: The administrator's reason.
        applications: The applications that are or were held back, if the decision isn't about the whole label.
    """

    kind: Kind
    label: str
    state: str | None
    findings: tuple[Finding, ...] = ()
    count: int = 0
    failure: str | None = None
    person: Person | None = None
    reason: str = ""
    applications: tuple[str, ...] = ()
