"""[http] of vortexd.toml. Spring's HTTP API."""

import re

import attrs

from ..core.constraints import Rule, setting, texts, whole

# The segments contain only characters that need no percent-encoding.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]*[A-Za-z0-9_~-])*")
# Backups, files that are still being written, and leftovers of merges and patches.
_LEFT_BY_EDITORS = ("*.bak", "*.orig", "*.swp", "*~", ".#*", "*.rej", "*.tmp")


def _is_file_name(value: object) -> bool:
    return re.fullmatch(r"[^/\x00-\x1f]{1,255}", str(value)) is not None


@attrs.frozen
class HttpSettings:
    """[http]."""

    prefix: str = setting(
        "",
        Rule(
            "the beginning of a path, such as /config, without a slash at its end, or empty",
            lambda value: _PREFIX.fullmatch(str(value)) is not None,
        ),
        doc='A prefix for the paths of configuration and plain files, such as "/config". These paths then exist '
        "only with the prefix. All other paths exist with it and without it, except that WebSockets are "
        "only at /ws.",
    )
    accept_empty: bool = setting(
        True, doc="Answer with an empty configuration if nothing contributes to the requested one. False answers 404."
    )
    strict_errors: bool = setting(
        False,
        doc="Answer 500 for configurations that read a broken file, as Spring does. False serves them with the "
        "last good content of the file.",
    )
    hidden_files: tuple[str, ...] = texts(
        "the name of a file, in which * stands for anything",
        _is_file_name,
        *_LEFT_BY_EDITORS,
        doc="Globs for names of files and directories that vortexd never serves as plain files, in upper or "
        "lower case: backups, and files that editors leave behind. vortexd still reads configuration from "
        "such files.",
    )
    watches: int = whole(
        4_096,
        1,
        1_000_000,
        doc="The number of requests to `/api/v1/watch` that may wait at the same time, and at most half as many as "
        "there may be connections. Beyond it vortexd answers 503.",
    )
    watches_per_client: int = whole(
        256,
        1,
        1_000_000,
        doc="The number of requests to `/api/v1/watch` that may wait for one client at the same time. A client is a "
        "token at one address, or in IPv6 in one /64 network. Beyond it vortexd answers 429.",
        more="Raise it if many clients share an address, as behind a proxy that is not in `server.trusted_proxies`.",
    )
