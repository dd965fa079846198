"""The address of a git repository: what may be one, and the form of it that anybody may see. Pure.

Everything that git could take for an option, a command or a helper is refused here, before git sees it (ATTACKS G05).
"""

import re
from urllib.parse import unquote

import attrs

SCHEMES = ("https", "ssh", "http", "git", "file")
# Encrypted, and of another machine.
DEFAULT_SCHEMES = ("https", "ssh")

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[^@:/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<host>[^/:@\[\]]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)"
)
# What ssh alone takes: git@host:team/config.git.
_SCP = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^/:@\[\]]+):(?P<path>[^:].*)")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*)")


@attrs.frozen
class Remote:
    """Where a repository is.

    Attributes:
        uri: What git is given, and what people and Spring clients see: without a password, and over HTTP without a user.
        scheme: One of SCHEMES.
        site: `scheme://host[:port]`, which credentials are bound to.
        path: The path on that host, as it was written.
        user: The user in the address, or "".
        password: The password in the address, or "".
    """

    uri: str
    scheme: str
    site: str
    path: str
    user: str = ""
    password: str = attrs.field(default="", repr=False)


def parse_remote(text: str) -> Remote:
    """Take an address apart; nothing is looked up.

    Raises:
        ValueError: Says what is allowed, as the end of a sentence that begins with the key, and repeats nothing of it.
    """
    if not text or not text.isprintable() or len(text) > 2_048 or any(character in text for character in " ?#\\\"'<>|"):
        raise ValueError("must be the address of a git repository, such as https://git.example/team/config.git")
    url = _URL.fullmatch(text)
    if url is None:
        return _scp(text)
    scheme, host, path = url["scheme"], url["host"], url["path"]
    if scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    user, password = unquote(url["user"] or ""), unquote(url["password"] or "")
    if scheme == "file":
        if host or user or path.startswith("//"):
            raise ValueError("must have three slashes behind file:, such as file:///srv/git/config.git")
    elif not _HOST.fullmatch(host):
        raise ValueError("must have the name of a host behind ://")
    if scheme == "ssh" and (password or (user and not _USER.fullmatch(user))):
        raise ValueError("must have no password and a plain user for ssh; name a key with ssh_key")
    if not (user + password).isprintable():
        raise ValueError("must have no control characters in its user and password")
    site = f"{scheme}://{host}" + (f":{url['port']}" if url["port"] else "")
    shown = f"{scheme}://{user}@{site.partition('://')[2]}" if scheme == "ssh" and user else site
    return Remote(shown + path, scheme, site, path, user, password)


def _scp(text: str) -> Remote:
    parts = _SCP.fullmatch(text) if "://" not in text else None
    if parts is None or not _HOST.fullmatch(parts["host"]) or (parts["user"] and not _USER.fullmatch(parts["user"])):
        raise ValueError(
            "must be the address of a git repository, such as https://git.example/team/config.git; "
            "a directory of this machine is file:///path"
        )
    return Remote(text, "ssh", f"ssh://{parts['host']}", parts["path"], parts["user"] or "")
