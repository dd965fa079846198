"""Who is let in, and what for. In come the credentials of a request, out goes a `Principal`, and for each thing it wants to do a yes or an error.

    credentials.py  the token in a request, and how to keep it out of logs
    tokens.py       random tokens, known by their digests
    certificates.py clients' certificates, known by a name in them
    jwt.py          signed tokens of others
    principal.py    somebody we know: rights over patterns
    authority.py    the one judge, immutable; a reload makes a new one
    origin.py       Origin and Host, against web pages
    failures.py     wrong tokens, counted per address
    gate.py         the checks of a request in their order, by what is in force now
    files.py        the files that [auth] names; the only one that touches the file system

A request is judged in this order: check_host, check_origin, authenticate, authorize.
"""

from .authority import Authority
from .credentials import Credentials, extract_credentials, redact_target
from .failures import Failures
from .files import check_exposure, load_authority
from .gate import Admission, Gate, TooManyFailures
from .origin import check_host, check_origin, is_loopback, parse_host, parse_origin, sole_header
from .principal import ALL_RIGHTS, CHALLENGE, Forbidden, Grant, Kind, Principal, Right, Unauthorized
from .tokens import Token, Tokens, digest_of, load_tokens, new_token

__all__ = [
    "ALL_RIGHTS",
    "CHALLENGE",
    "Admission",
    "Authority",
    "Credentials",
    "Failures",
    "Forbidden",
    "Gate",
    "Grant",
    "Kind",
    "Principal",
    "Right",
    "Token",
    "Tokens",
    "TooManyFailures",
    "Unauthorized",
    "check_exposure",
    "check_host",
    "check_origin",
    "digest_of",
    "extract_credentials",
    "is_loopback",
    "load_authority",
    "load_tokens",
    "new_token",
    "parse_host",
    "parse_origin",
    "redact_target",
    "sole_header",
]
