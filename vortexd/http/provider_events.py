"""The events of providers that can move a ref, and where each of them names the refs. Pure.

A row says how to read one event of one provider. A reader gives the full names of refs; a None among them means that the message doesn't say, or
says it in a way that isn't understood. A pull request that was merged has moved its target, and may have deleted its source.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs

Message = Mapping[str, Any]
Refs = list[object]


class Files(enum.Enum):
    """Where an event names files, as Spring reads it.

    Attributes:
        IN_COMMITS: In each of `commits`.
        GIVEN: In `path`.
        UNNAMED: Nowhere.
    """

    IN_COMMITS = "commits"
    GIVEN = "path"
    UNNAMED = ""


@attrs.frozen
class ProviderEvent:
    """How to read one event.

    Attributes:
        refs: Gives the refs it is about.
        files: Where it names files.
        says_where: Whether its addresses are those that a source may have.
    """

    refs: Callable[[Message], Refs]
    files: Files = Files.UNNAMED
    says_where: bool = True


def at(value: object, *steps: str | int) -> Any:
    """The value at the end of a path through mappings and lists; None where the path leads nowhere."""
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def each(value: object) -> list[Any]:
    """A list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else []


def codecommit_refs(message: Message) -> Refs:
    """The refs of a CodeCommit trigger, or of an event that came by EventBridge."""
    records = each(message.get("Records"))
    if records:
        changes = [each(at(record, "codecommit", "references")) for record in records]
        return [at(change, "ref") for part in changes for change in part or [None]]
    detail = message.get("detail")
    if at(detail, "isMerged") == "True":
        return [at(detail, "destinationReference"), at(detail, "sourceReference")]
    return [at(detail, "referenceFullName")]


def _any(message: Message) -> Refs:
    return []


def _ref(message: Message) -> Refs:
    return [message.get("ref")]


def _full(name: object, kind: object) -> object:
    """The full name of a branch or tag. Some versions of Gitea send that in the first place."""
    if not isinstance(name, str) or name.startswith("refs/"):
        return name
    directory = {"branch": "heads", "tag": "tags"}.get(str(kind))
    return f"refs/{directory}/{name}" if directory and name else None


def _branch(name: object) -> object:
    return _full(name, "branch")


# GitHub, and Gitea, Forgejo and Gogs, which follow it.


def _named(message: Message) -> Refs:
    return [_full(message.get("ref"), message.get("ref_type"))]


def _github_merge(message: Message) -> Refs:
    pull = message.get("pull_request")
    if at(pull, "merged") is not True:
        return []
    # Gogs has the names on their own.
    return [_branch(at(pull, side, "ref") or at(pull, f"{side}_branch")) for side in ("base", "head")]


# GitLab.


def _gitlab_merge(message: Message) -> Refs:
    request = message.get("object_attributes")
    if at(request, "state") != "merged":
        return []
    return [_branch(at(request, f"{side}_branch")) for side in ("target", "source")]


def _gitlab_update(message: Message) -> Refs:
    return each(message.get("refs")) or [at(change, "ref") for change in each(message.get("changes"))]


# Bitbucket.


def _cloud_push(message: Message) -> Refs:
    refs: Refs = []
    for change in each(at(message, "push", "changes")):
        # The side that isn't there is null: a ref that is new has no old one, and a deleted ref no new one.
        sides = [side for side in (at(change, "old"), at(change, "new")) if side is not None]
        refs += [_full(at(side, "name"), at(side, "type")) for side in sides] or [None]
    return refs


def _cloud_merge(message: Message) -> Refs:
    pull = message.get("pullrequest")
    return [_branch(at(pull, side, "branch", "name")) for side in ("destination", "source")]


def _server_push(message: Message) -> Refs:
    return [at(change, "ref", "id") for change in each(message.get("changes"))]


def _server_merge(message: Message) -> Refs:
    return [at(message, "pullRequest", side, "id") for side in ("toRef", "fromRef")]


def _mirrored(message: Message) -> Refs:
    # A mirror that took in too many refs lists none, or only some.
    return [] if message.get("refLimitExceeded") else _server_push(message)


# Azure DevOps.


def _azure_push(message: Message) -> Refs:
    return [at(update, "name") for update in each(at(message, "resource", "refUpdates"))]


def _azure_merge(message: Message) -> Refs:
    return [at(message, "resource", name) for name in ("targetRefName", "sourceRefName")]


_FILES = ProviderEvent(_ref, Files.IN_COMMITS)
_PUSH = ProviderEvent(_ref)
_MOVED = ProviderEvent(_named)
_PULL = ProviderEvent(_github_merge)
_GITLAB_PULL = ProviderEvent(_gitlab_merge)
# The default branch may be another one, or the repository may have another address than a source knows.
_REPOSITORY = ProviderEvent(_any, says_where=False)
# It makes its tag, if that isn't there.
_RELEASE = ProviderEvent(_any)
_LIKE_GITHUB = {
    "create": _MOVED,
    "delete": _MOVED,
    "pull_request": _PULL,
    "release": _RELEASE,
    "repository": _REPOSITORY,
}

# By provider and event, as `webhooks.recognise` names them.
EVENTS: Mapping[tuple[str, str], ProviderEvent] = {
    (provider, event): row
    for provider, rows in {
        "forgejo": {"push": _PUSH, **_LIKE_GITHUB},
        "gitea": {"push": _PUSH, **_LIKE_GITHUB},
        "gogs": {"push": _FILES, **_LIKE_GITHUB},
        "github": {"push": _FILES, **_LIKE_GITHUB},
        # A merge is told with addresses and branches of two repositories.
        "gitee": {"Push Hook": _FILES, "Tag Push Hook": _FILES, "Merge Request Hook": _REPOSITORY},
        "gitlab": {
            "Push Hook": _FILES,
            "Tag Push Hook": _FILES,
            "Merge Request Hook": _GITLAB_PULL,
            "Release Hook": _RELEASE,
            # System hooks go by the name in the body, and list no commits.
            "push": _PUSH,
            "tag_push": _PUSH,
            "merge_request": _GITLAB_PULL,
            "repository_update": ProviderEvent(_gitlab_update),
        },
        "bitbucket": {"repo:push": ProviderEvent(_cloud_push), "pullrequest:fulfilled": ProviderEvent(_cloud_merge)},
        "bitbucket server": {
            "repo:refs_changed": ProviderEvent(_server_push),
            "pr:merged": ProviderEvent(_server_merge),
            # The addresses are those of the server that is mirrored.
            "mirror:repo_synchronized": ProviderEvent(_mirrored, says_where=False),
        },
        # One repository has addresses of four forms there, of which a message names one or two.
        "azure devops": {
            "git.push": ProviderEvent(_azure_push, says_where=False),
            "git.pullrequest.merged": ProviderEvent(_azure_merge, says_where=False),
        },
        "plain": {"path": ProviderEvent(_any, Files.GIVEN, says_where=False)},
    }.items()
    for event, row in rows.items()
}
PINGS = frozenset({("github", "ping"), ("bitbucket server", "diagnostics:ping")})
