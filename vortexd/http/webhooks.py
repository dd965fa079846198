"""Who calls with news of a repository: the webhooks of GitHub, GitLab, Gitea, Gogs, Gitee and Bitbucket, and Spring's plain form. Pure.

In come headers and a body, out goes a `Hook`, or None where nothing is recognised. Nothing in it is trusted but as a sign to look: which files a
push changed is found out from the repository itself. Signatures are checked before a body is parsed.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import parse_qs

import attrs

_MAX_PATHS = 1_000
_MAX_ADDRESSES = 64
# What Spring answers where a provider doesn't name files: everybody.
_EVERYBODY = ("application.yml",)
_HEX_SIGNATURES = {
    "X-Hub-Signature-256": "sha256=",
    "X-Hub-Signature": "sha256=",
    "X-Gitea-Signature": "",
    "X-Gogs-Signature": "",
}
_SECRETS = ("X-Gitlab-Token", "X-Gitee-Token")


class Headers(Protocol):
    """Names without regard to case."""

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default."""
        ...


@attrs.frozen
class Hook:
    """A recognised call.

    Attributes:
        provider: For the log and the metric.
        paths: The files it names; "application.yml" where it names none.
        addresses: Of the repository, in several spellings; none where it doesn't say.
        refs: The full names of the branches and tags that were pushed or deleted; none where it doesn't say.
    """

    provider: str
    paths: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()


def is_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether a call proves that it comes from who knows the secret. Takes the same time however wrong it is."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    proofs = [(headers.get(name, ""), prefix + digest) for name, prefix in _HEX_SIGNATURES.items()]
    proofs += [(headers.get(name, ""), secret) for name in _SECRETS]
    # Digests are compared, for text that isn't ASCII can't be, and lengths say something.
    return any(hmac.compare_digest(_digest(sent), _digest(wanted)) and bool(sent) for sent, wanted in proofs)


def recognise(headers: Headers, body: bytes) -> Hook | None:
    """Find out what a call says; None where it is for nobody (another event, or a body of another shape)."""
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return _form(body)
    message = _parsed(body)
    if message is None:
        return None
    # Gitea says that it is GitHub and Gogs as well.
    if gitea := headers.get("X-Gitea-Event", ""):
        return _broadcast("gitea", message, gitea == "push" and isinstance(message.get("commits"), list))
    for provider, header, event in (
        ("gogs", "X-Gogs-Event", "push"),
        ("gitee", "X-Git-Oschina-Event", "Push Hook"),
        ("github", "X-Github-Event", "push"),
        ("gitlab", "X-Gitlab-Event", "Push Hook"),
    ):
        if said := headers.get(header, ""):
            return _pushed(provider, message) if said in (event, "Tag Push Hook") else None
    event_key = headers.get("X-Event-Key", "")
    if event_key in ("repo:push", "pullrequest:fulfilled") and headers.get("X-Hook-UUID", ""):
        push = message.get("push")
        return _broadcast("bitbucket", message, isinstance(push, dict) and isinstance(push.get("changes"), list))
    if event_key in ("repo:refs_changed", "pr:merged") and headers.get("X-Request-Id", ""):
        is_whole = event_key == "pr:merged" or isinstance(message.get("changes"), list)
        return _broadcast("bitbucket server", message, is_whole)
    return _plain(message.get("path"))


def destinations(paths: tuple[str, ...]) -> list[str]:
    """What Spring answers: the applications that files of these names are for, `*` for all."""
    found: dict[str, None] = {}
    for path in paths:
        name = path.replace("\\", "/").rpartition("/")[2]
        stem = name.rpartition(".")[0] or name
        while stem:
            found["*" if stem == "application" else stem] = None
            stem = stem.rpartition("-")[0]
    return list(found)


def _form(body: bytes) -> Hook | None:
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=_MAX_PATHS)
    except ValueError:
        return None
    return _plain(fields.get("path"))


def _plain(path: object) -> Hook | None:
    paths = [path] if isinstance(path, str) else path
    if not isinstance(paths, list) or not paths or not all(isinstance(each, str) for each in paths):
        return None
    return Hook("plain", tuple(paths[:_MAX_PATHS]))


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _pushed(provider: str, message: dict[str, Any]) -> Hook:
    commits = message.get("commits")
    paths: dict[str, None] = {}
    for commit in commits if isinstance(commits, list) else ():
        for kind in ("added", "removed", "modified"):
            files = commit.get(kind) if isinstance(commit, dict) else None
            paths |= dict.fromkeys(each for each in (files if isinstance(files, list) else ()) if isinstance(each, str))
    return Hook(provider, tuple(paths)[:_MAX_PATHS], _addresses(message), _refs(message))


def _broadcast(provider: str, message: dict[str, Any], is_whole: bool) -> Hook | None:
    return Hook(provider, _EVERYBODY, _addresses(message), _refs(message)) if is_whole else None


def _refs(message: dict[str, Any]) -> tuple[str, ...]:
    push = message.get("push")
    changes = push.get("changes") if isinstance(push, dict) else message.get("changes")
    found = [message.get("ref")]
    for change in changes if isinstance(changes, list) else ():
        if not isinstance(change, dict):
            return ()
        # Bitbucket Server names the ref; Cloud what it was and what it is, one of which is null.
        server = change.get("ref")
        found += [server.get("id")] if isinstance(server, dict) else []
        found += [_cloud_ref(change.get(state)) for state in ("old", "new")]
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each.startswith("refs/")))


def _cloud_ref(state: object) -> str | None:
    if not isinstance(state, dict) or not isinstance(state.get("name"), str):
        return None
    return f"refs/{'tags' if state.get('type') == 'tag' else 'heads'}/{state['name']}"


def _addresses(message: dict[str, Any]) -> tuple[str, ...]:
    """Every address below `repository` and `project`: which of them is the clone's differs from provider to provider."""
    found = [text for member in ("repository", "project") for text in _links(message.get(member), 4)]
    return tuple(dict.fromkeys(found))[:_MAX_ADDRESSES]


def _links(value: object, depth: int) -> Iterator[str]:
    if depth and isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and (name == "href" or name.endswith("url")):
                yield each
            else:
                yield from _links(each, depth - 1)
    elif depth and isinstance(value, list):
        for each in value:
            yield from _links(each, depth - 1)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
