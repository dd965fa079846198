"""Parses the address of a git repository, and makes the form of it that may be shown to anybody. Pure.

It refuses every address that git could take for an option, a command or a helper, before git sees it (ATTACKS G05).
"""

import re
from urllib.parse import unquote

import attrs

SCHEMES = ("https", "ssh", "http", "git", "file")
# These schemes are encrypted, and their repositories are on other machines.
DEFAULT_SCHEMES = ("https", "ssh")

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[^@:/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<host>[^/:@\[\]]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)"
)
# A form that only ssh accepts: git@host:team/config.git.
_SCP = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^/:@\[\]]+):(?P<path>[^:].*)")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*)")


@attrs.frozen
class Remote:
    """The address of a repository.

    Attributes:
        uri: The address that git gets and that people and Spring clients see: without a password, and over HTTP without
            a user.
        scheme: One of SCHEMES.
        site: `scheme://host[:port]`. Credentials are bound to it.
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
    """Parse an address. It isn't resolved or contacted.

    Raises:
        ValueError: The text isn't a valid address. The message names the allowed forms, as the end of a sentence that
            begins with the key. It doesn't repeat the text.
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
            raise ValueError("must have three slashes after file:, such as file:///srv/git/config.git")
    elif not _HOST.fullmatch(host):
        raise ValueError("must have the name of a host after ://")
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
