"""Compares addresses of repositories, however they are spelled. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", re.DOTALL)


def repository_of(address: str) -> str:
    """Return `host/path` of an address in any of git's spellings. If the text isn't an address, return "".

    The result has no user, port or `.git`, and ignores case. So `https://git.example/team/config.git`,
    `ssh://git@git.example:22/team/config` and `git@git.example:team/config.git` are the same repository.
    """
    scp = _SCP.fullmatch(address) if "://" not in address else None
    try:
        host, path = (scp[1], scp[2]) if scp else ((parts := urlsplit(address)).hostname or "", parts.path)
    except ValueError:
        return ""
    path = path.strip("/").removesuffix(".git")
    # Bitbucket Server serves HTTP below /scm.
    path = path.removeprefix("scm/")
    return f"{host}/{path}".casefold() if path else ""


def may_be_one_of(repository: str, others: Iterable[str]) -> bool:
    """Return whether a repository may be one of others. All have the form of `repository_of`.

    Only paths are compared, because a server may have several names: inside a cluster, behind a proxy, or in the
    configuration of ssh. A repository without a host is a directory on this machine, which no webhook can name.
    """
    host, _, path = repository.partition("/")
    return not host or any(path == other.partition("/")[2] for other in others)
