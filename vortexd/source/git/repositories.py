"""Which repository an address means, however it is spelled. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", re.DOTALL)


def repository_of(address: str) -> str:
    """`host/path` of an address in any of git's spellings, without user, port, `.git` and case; "" for what is none.

    `https://git.example/team/config.git`, `ssh://git@git.example:22/team/config` and `git@git.example:team/config.git` are one repository.
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
    """Whether a repository may be one of others; each is as `repository_of` has it.

    Only paths are compared, because a server has more names than one: inside a cluster, over a proxy, or in ssh's own configuration. A
    repository without a host is a directory here, which no other machine can name.
    """
    host, _, path = repository.partition("/")
    return not host or any(path == other.partition("/")[2] for other in others)
