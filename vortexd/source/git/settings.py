"""The settings of a repository: keys, defaults and rules, and the checks that need several keys."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, is_label, seconds, setting, texts, whole
from ...core.constraints import applications as applications_field
from ...core.constraints import path as path_field
from ...settings.secrets import file_problem, secret_problem
from ...settings.secure_files import OTHERS_READ_OR_WRITE
from ...settings.source import KeyProblem, SourceSettings
from .. import fields
from ..base import Surroundings
from . import command_line
from .remotes import DEFAULT_SCHEMES, SCHEMES, parse_remote

if TYPE_CHECKING:
    from .source import GitSource

# A search location: names, {application}, {profile}, {label} and *. It never has a hidden directory, and never leaves
# the tree.
_LOCATION = re.compile(r"/?(?:(?!\.)(?:[A-Za-z0-9._*-]|\{(?:application|profile|label)\})+/?)+")
_LABELS = re.compile(r"[A-Za-z0-9._*/+@-]+")
# For each key with credentials, the schemes of addresses that it can be used for.
_USED_BY: Mapping[str, Sequence[str]] = {
    "username": ("http", "https"),
    "password_file": ("http", "https"),
    "ca_file": ("https",),
    "ssh_key": ("ssh",),
    "known_hosts": ("ssh",),
    "push_username": ("http", "https"),
    "push_password_file": ("http", "https"),
    "push_ssh_key": ("ssh",),
}
# The keys that count only if the source pushes.
_FOR_PUSHING = ("push_username", "push_password_file", "push_ssh_key", "push_email")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")


def _is_remote(value: object) -> bool:
    parse_remote(str(value))
    return True


def _is_location(value: object) -> bool:
    text = str(value)
    return len(text) <= 512 and _LOCATION.fullmatch(text) is not None and ".." not in text and "//" not in text


@attrs.frozen
class GitSettings(SourceSettings):
    """[[source]] of kind "git": A git repository. Each branch and tag is a label."""

    location_key: ClassVar[str] = "uri"
    path_keys: ClassVar[tuple[str, ...]] = (
        *("password_file", "ssh_key", "known_hosts", "ca_file"),
        *("push_password_file", "push_ssh_key"),
    )
    private_keys: ClassVar[tuple[str, ...]] = path_keys
    keeps_mirrors: ClassVar[bool] = True

    kind: Literal["git"] = setting("git", doc='The kind of source: "git" is a repository.')
    uri: str = setting(
        "",
        Rule("the address of a git repository", _is_remote),
        doc="The address of the repository: `https://`, `ssh://` or `user@host:path`. Other schemes have to be "
        "in `schemes`.",
        example='"https://git.example/team/config.git"',
    )
    schemes: tuple[str, ...] = texts(
        " or ".join(f'"{each}"' for each in SCHEMES),
        lambda value: value in SCHEMES,
        *DEFAULT_SCHEMES,
        doc='The schemes that the address may have: "https" and "ssh", or "http", "git" and "file", which are '
        "not protected against changes on the way.",
    )
    default_label: str = setting(
        "",
        Rule(
            "a label (letters, digits, dots, hyphens, underscores, slashes, + and @), or empty",
            lambda value: value == "" or is_label(value),
        ),
        doc='The label of a request that names none. "" means the branch of the remote\'s HEAD. If the remote '
        "has no HEAD, it is main, or master if there is no main.",
        more="vortexd asks for HEAD when the branches or tags of the remote have changed, and at every "
        "twentieth fetch. The mirror keeps the answer.",
    )
    search_paths: tuple[str, ...] = texts(
        "a directory of the repository, with {application}, {profile}, {label} and * where they are meant",
        _is_location,
        doc="Directories to search in addition to the top of the repository. Later directories take precedence. "
        "{application}, {profile} and {label} are replaced by those of the request; `*` matches anything "
        "within one name.",
    )
    labels: tuple[str, ...] = texts(
        "a pattern such as main, release/* or refs/tags/v*",
        lambda value: _LABELS.fullmatch(str(value)) is not None,
        "*",
        doc="The branches and tags to serve, as patterns with `*`. A pattern that begins with refs/ is matched "
        "against the full name, as in `refs/tags/v*`.",
    )
    commits: bool = setting(
        False,
        doc="Serve commits by their full hash, too, if they are in the past of a served branch or tag.",
        more="If a request names a commit and this is false, the error names this setting.",
    )
    loaded_labels: int = whole(
        100,
        1,
        100_000,
        doc="The number of labels that vortexd reads in advance: the default label, and the labels with the "
        "newest commits. It reads any other label when a request names it. Of those it keeps the same "
        "number, and all that are in use. Patterns of clients match only labels that vortexd has read.",
    )
    username: str = setting(
        "",
        Rule("a name on one line", lambda value: str(value).isprintable()),
        doc='The user for HTTP. "" means the user in the address, else x-access-token, which most tokens accept.',
    )
    password_file: str = path_field(
        doc="The file with the token or password for HTTP. vortexd reads it at each fetch. vortexd refuses the "
        "file if the group or other users have access to it."
    )
    ssh_key: str = path_field(
        doc='The file with the private key for ssh. "" means the keys in ~/.ssh of vortexd\'s user, and those of '
        "the agent at $SSH_AUTH_SOCK. ssh refuses the file if the group or other users have access to it."
    )
    known_hosts: str = path_field(
        doc='The file with the public keys of ssh hosts. "" means ~/.ssh/known_hosts of vortexd\'s user. In both '
        "cases ssh also trusts the hosts in /etc/ssh/ssh_known_hosts. It refuses all others."
    )
    ca_file: str = path_field(
        doc='The PEM file with the authorities that https servers are checked against. "" means those of the system.'
    )
    push: bool = setting(
        False,
        doc="Let tokens with the right `admin` roll back a key with POST /api/v1/rollback: vortexd makes a commit and "
        "pushes it to the branch of the label.",
        more="A push may take 12 seconds, or `fetch_timeout` if that is shorter. "
        'See "GOING BACK" in vortexd-operations(7).',
    )
    push_username: str = setting(
        "",
        Rule("a name on one line", lambda value: str(value).isprintable()),
        doc='The user for HTTP when vortexd pushes. "" means the user for fetching.',
    )
    push_password_file: str = path_field(
        doc='The file with the token or password for HTTP when vortexd pushes. "" means the password for fetching. '
        "vortexd reads the file at each push. vortexd refuses the file if the group or other users have access to it."
    )
    push_ssh_key: str = path_field(
        doc='The file with the private key for ssh when vortexd pushes. "" means the key for fetching. ssh refuses the '
        "file if the group or other users have access to it."
    )
    push_email: str = setting(
        "",
        Rule(
            "an e-mail address such as vortexd@example.org, or empty",
            lambda value: value == "" or _EMAIL.fullmatch(str(value)) is not None,
        ),
        doc='The e-mail address in the commits that vortexd makes. "" means vortexd@localhost. The author of a commit has '
        "the name of the token, certificate or JWT that asked for it.",
    )
    refresh_interval: float = seconds(
        60.0, 0.1, doc="Seconds between fetches. While fetches fail, the time doubles, up to 300 seconds."
    )
    hook_interval: float = seconds(
        1.0,
        0,
        doc="The minimum time in seconds from the start of one fetch to the start of another that a webhook "
        "asks for. If no fetch began within that time, the webhook starts one at once. Each failed fetch in "
        "succession doubles the time, up to 32 times this setting.",
    )
    fetch_timeout: float = seconds(60.0, 0.1, doc="Seconds that a fetch may take.")
    read_timeout: float = seconds(30.0, 0.1, doc="Seconds that reading the mirror may take.")
    mirror_bytes: int = whole(
        1_073_741_824,
        1_048_576,
        doc="The size of the objects that one fetch may bring. Beyond it the fetch fails, and vortexd serves "
        "the last state.",
    )
    file_bytes: int = fields.file_bytes()
    total_bytes: int = fields.total_bytes(
        doc="The size of all files together. Files that several labels share count once. A label whose files "
        "would exceed it keeps its last state, or is not served if it has none.",
    )
    files: int = fields.files(
        doc="The number of files of one label. A label with more keeps its last state, or is not served if it "
        "has none.",
    )
    applications: tuple[str, ...] = applications_field(
        doc="The applications and profiles that this source is for, as `application/profile` with `*`. A "
        "pattern without a slash is for every profile. An empty list means everything.",
        more='See "Several sources" in vortexd.toml(5).',
    )
    max_staleness: float = fields.max_staleness("a successful fetch")

    def open(self, surroundings: Surroundings) -> "GitSource":
        """See `SourceSettings`."""
        # This import loads Trio, which a check of the settings doesn't need.
        from .source import open_git

        return open_git(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "uri" not in table:
            yield "uri", "is missing; name the address of the repository to serve"
            return
        uri = table["uri"]
        try:
            remote = parse_remote(uri if isinstance(uri, str) else "")
        except ValueError:
            return  # the check of the key itself reports this
        schemes = table.get("schemes", DEFAULT_SCHEMES)
        if isinstance(schemes, list | tuple) and remote.scheme not in schemes:
            yield (
                "uri",
                f"must not begin with {remote.scheme}://, which is not protected, "
                f'unless schemes contains "{remote.scheme}"',
            )
        if remote.password and table.get("password_file"):
            yield "password_file", "must not be set if uri contains a password; keep the file"
        for name, used in _USED_BY.items():
            if table.get(name) and remote.scheme not in used:
                yield name, f"has no effect with {remote.scheme}://; it is for {' and '.join(used)}"
        for name in _FOR_PUSHING:
            # `push = false` must always stop the pushes. A reload that is refused would leave them on.
            if table.get(name) and "push" not in table and remote.scheme in _USED_BY.get(name, SCHEMES):
                yield name, "has no effect unless push is true; to stop pushing, write push = false"

    def unusable_files(self, environ: Mapping[str, str]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        for name in ("password_file", "push_password_file"):
            path = getattr(self, name)
            if path and (problem := secret_problem(path, environ)) is not None:
                yield name, problem
        keys = (("ssh_key", OTHERS_READ_OR_WRITE), ("push_ssh_key", OTHERS_READ_OR_WRITE))
        for name, forbidden in (*keys, ("known_hosts", 0), ("ca_file", 0)):
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
            # Nobody has allowed vortexd to push to this other host.
            kept = attrs.evolve(
                kept, push=False, push_username="", push_password_file="", push_ssh_key="", push_email=""
            )
        # An operator who writes an address on the command line allows its scheme.
        return attrs.evolve(kept, uri=location, schemes=tuple(dict.fromkeys((*self.schemes, remote.scheme))))


def _site(uri: str) -> str:
    try:
        return parse_remote(uri).site
    except ValueError:
        return ""
