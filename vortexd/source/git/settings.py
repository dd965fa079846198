"""The settings of a repository: keys, defaults, rules, and the checks of what the keys say together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, is_label, seconds, texts, whole
from ...core.constraints import applications as applications_field
from ...core.constraints import path as path_field
from ...settings.secrets import file_problem, secret_problem
from ...settings.secure_files import OTHERS_READ_OR_WRITE
from ...settings.source import KeyProblem, SourceSettings
from ..base import Surroundings
from . import command_line
from .remotes import DEFAULT_SCHEMES, SCHEMES, parse_remote

if TYPE_CHECKING:
    from .source import GitSource

# A search location: names, {application}, {profile}, {label} and *; never a hidden directory, and never out of the tree.
_LOCATION = re.compile(r"/?(?:(?!\.)(?:[A-Za-z0-9._*-]|\{(?:application|profile|label)\})+/?)+")
_LABELS = re.compile(r"[A-Za-z0-9._*/+@-]+")
# For each key with credentials, the schemes of addresses that it can be used for.
_USED_BY: Mapping[str, Sequence[str]] = {
    "username": ("http", "https"),
    "password_file": ("http", "https"),
    "ca_file": ("https",),
    "ssh_key": ("ssh",),
    "known_hosts": ("ssh",),
}


def _is_remote(value: object) -> bool:
    parse_remote(str(value))
    return True


def _is_location(value: object) -> bool:
    text = str(value)
    return len(text) <= 512 and _LOCATION.fullmatch(text) is not None and ".." not in text and "//" not in text


@attrs.frozen
class GitSettings(SourceSettings):
    """[[source]] of kind "git": a repository, each branch and tag of which is a label.

    Attributes:
        kind: "git".
        uri: The address of the repository: https://, ssh:// or user@host:path; others need `schemes`.
        schemes: What the address may begin with: "https", "ssh", and "http", "git" and "file", which nothing protects.
        default_label: The label of a request that names none; "" means the branch that the remote's HEAD stands for, and, where it doesn't
            say, main, or master where there is no main.
        search_paths: Directories to search beside the top, later ones win. {application}, {profile} and {label} stand for what is asked
            for, and `*` for anything within one name.
        labels: Which branches and tags are served, as patterns with `*`; one that begins with refs/ is matched against the whole
            name, as in refs/tags/v*.
        commits: Serve commits by their full name, too, if a served branch or tag has them in its past.
        loaded_labels: Labels that are read without being asked for: the default label and those with the newest commits. Others are read
            when they are asked for by name, and as many of those are kept; patterns of clients match those that are read.
        username: The user for HTTP; "" means that of the address, else x-access-token, which goes with most tokens.
        password_file: The file with the token or password for HTTP, read at each fetch. $CREDENTIALS_DIRECTORY at the beginning is systemd's.
        ssh_key: The file with the private key for ssh; "" means those of the user that vortexd runs as.
        known_hosts: The file with the keys of ssh hosts; "" means that of the user that vortexd runs as. Unknown hosts are refused.
        ca_file: The file with the certificates that https is checked against; "" means the system's.
        refresh_interval: Seconds between fetches.
        hook_interval: Seconds from the beginning of one fetch to that of the next where webhooks ask for both; the first is at once.
            While fetches fail it doubles with each.
        fetch_timeout: Seconds a fetch may take.
        read_timeout: Seconds that reading the mirror may take.
        mirror_bytes: Size of what one fetch may bring.
        file_bytes: Size of one file; a larger one counts as broken.
        total_bytes: Size of all files together, those that labels share counted once.
        files: Number of files of one label.
        applications: As of kind "files".
        max_staleness: Seconds without a successful fetch after which vortexd isn't ready any more; 0 means never.
    """

    location_key: ClassVar[str] = "uri"
    path_keys: ClassVar[tuple[str, ...]] = ("password_file", "ssh_key", "known_hosts", "ca_file")
    private_keys: ClassVar[tuple[str, ...]] = path_keys
    keeps_mirrors: ClassVar[bool] = True

    kind: Literal["git"] = "git"
    uri: str = attrs.field(default="", metadata={"rule": Rule("the address of a git repository", _is_remote)})
    schemes: tuple[str, ...] = texts(
        " or ".join(f'"{each}"' for each in SCHEMES), lambda value: value in SCHEMES, *DEFAULT_SCHEMES
    )
    default_label: str = attrs.field(
        default="",
        metadata={
            "rule": Rule(
                "a label (letters, digits, dots, hyphens, underscores, slashes, + and @), or empty",
                lambda value: value == "" or is_label(value),
            )
        },
    )
    search_paths: tuple[str, ...] = texts(
        "a directory of the repository, with {application}, {profile}, {label} and * where they are meant", _is_location
    )
    labels: tuple[str, ...] = texts(
        "a pattern such as main, release/* or refs/tags/v*",
        lambda value: _LABELS.fullmatch(str(value)) is not None,
        "*",
    )
    commits: bool = False
    loaded_labels: int = whole(100, 1, 100_000)
    username: str = attrs.field(
        default="", metadata={"rule": Rule("a name on one line", lambda value: str(value).isprintable())}
    )
    password_file: str = path_field()
    ssh_key: str = path_field()
    known_hosts: str = path_field()
    ca_file: str = path_field()
    refresh_interval: float = seconds(60.0, 0.1)
    hook_interval: float = seconds(1.0, 0)
    fetch_timeout: float = seconds(60.0, 0.1)
    read_timeout: float = seconds(30.0, 0.1)
    mirror_bytes: int = whole(1_073_741_824, 1_048_576)
    file_bytes: int = whole(10_485_760, 1_024)
    total_bytes: int = whole(268_435_456, 1_024)
    files: int = whole(20_000, 1, 10_000_000)
    applications: tuple[str, ...] = applications_field()
    max_staleness: float = seconds(0.0, 0)

    def open(self, surroundings: Surroundings) -> "GitSource":
        """See `SourceSettings`."""
        # With it comes Trio, which a check of the settings doesn't need.
        from .source import open_git

        return open_git(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "uri" not in table:
            yield "uri", "must be there: the address of the repository to serve"
            return
        uri = table["uri"]
        try:
            remote = parse_remote(uri if isinstance(uri, str) else "")
        except ValueError:
            return  # reported for the key itself
        schemes = table.get("schemes", DEFAULT_SCHEMES)
        if isinstance(schemes, list | tuple) and remote.scheme not in schemes:
            yield (
                "uri",
                f'must not begin with {remote.scheme}://, which nothing protects, unless schemes has "{remote.scheme}"',
            )
        if remote.password and table.get("password_file"):
            yield "password_file", "must not be there beside a password in uri; keep the file"
        for name, used in _USED_BY.items():
            if table.get(name) and remote.scheme not in used:
                yield name, f"is of no use to {remote.scheme}://; it is for {' and '.join(used)}"

    def unusable_files(self, environ: Mapping[str, str]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if self.password_file and (problem := secret_problem(self.password_file, environ)) is not None:
            yield "password_file", problem
        for name, forbidden in (("ssh_key", OTHERS_READ_OR_WRITE), ("known_hosts", 0), ("ca_file", 0)):
            path = getattr(self, name)
            if path and (problem := file_problem(path, environ, forbidden, is_pem=name == "ca_file")) is not None:
                yield name, problem

    @classmethod
    def location_of(cls, given: str) -> str | None:
        """See `SourceSettings`."""
        return command_line.address_of(given)

    @classmethod
    def takes(cls, location: str) -> bool:
        """See `SourceSettings`."""
        return command_line.is_address(location)

    def at(self, location: str) -> "GitSettings":
        """See `SourceSettings`. Credentials stay only if the host is the same."""
        remote = parse_remote(location)
        kept = self
        if _site(self.uri) != remote.site:
            kept = attrs.evolve(self, username="", password_file="", ssh_key="", known_hosts="", ca_file="")
        # Whoever writes an address on the command line has asked for its scheme.
        return attrs.evolve(kept, uri=location, schemes=tuple(dict.fromkeys((*self.schemes, remote.scheme))))


def _site(uri: str) -> str:
    try:
        return parse_remote(uri).site
    except ValueError:
        return ""
