"""Authenticates clients and authorizes their actions. The input is the credentials of a request. The output is a `Principal`.

For each action of the principal, the authority then allows it or raises an error.

    credentials.py  the token in a request, and its redaction in logs
    tokens.py       random tokens, stored as digests
    certificates.py clients' certificates, identified by a name in them
    jwt.py          tokens that another service has signed
    principal.py    an authenticated client: rights over patterns
    authority.py    the only judge of rights, immutable; a reload makes a new authority
    origin.py       Origin and Host, as a defence against web pages
    failures.py     wrong tokens, counted per address
    gate.py         the checks of a request in their order, by the authority in force
    files.py        the files that [auth] names; with credential_files.py, the only access to the file system

A request passes these checks in order: check_host, check_origin, authenticate, authorize.
"""

from .authority import Authority
from .credentials import Credentials, extract_credentials, redact_target, token_parameters
from .failures import Failures
from .files import check_exposure, load_authority
from .gate import Admission, Gate, Recognition, TooManyFailures
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
    "Recognition",
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
    "token_parameters",
]
