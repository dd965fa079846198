"""The webhook events that can move a ref, and the functions that read the refs from them. Pure.

A row tells how to read one event of one provider. A reader returns the full names of refs. A None among them means that
the message names no ref, or names it in an unknown form. A merged pull request has moved its target branch, and may have
deleted its source branch.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs

Message = Mapping[str, Any]
Refs = list[object]


class Files(enum.Enum):
    """The place where an event names files, as Spring reads it.

    Attributes:
        IN_COMMITS: The event names files in each of `commits`.
        GIVEN: The event names files in `path`.
        UNNAMED: The event names no files.
    """

    IN_COMMITS = "commits"
    GIVEN = "path"
    UNNAMED = ""


@attrs.frozen
class ProviderEvent:
    """How to read one event.

    Attributes:
        refs: Reads the refs from the message.
        files: The place where the event names files.
        says_where: Whether the addresses in the message can be compared with the address of a source.
    """

    refs: Callable[[Message], Refs]
    files: Files = Files.UNNAMED
    says_where: bool = True


def at(value: object, *steps: str | int) -> Any:
    """Return the value at the end of a path through mappings and lists; None if there is no such value."""
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def each(value: object) -> list[Any]:
    """Return a list as it is, and an empty list for anything else."""
    return value if isinstance(value, list) else []


def codecommit_refs(message: Message) -> Refs:
    """Read the refs from a CodeCommit trigger, or from an event that EventBridge has sent."""
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
    """Make the full name of a branch or tag. Some versions of Gitea send the full name already."""
    if not isinstance(name, str) or name.startswith("refs/"):
        return name
    directory = {"branch": "heads", "tag": "tags"}.get(str(kind))
    return f"refs/{directory}/{name}" if directory and name else None


def _branch(name: object) -> object:
    return _full(name, "branch")


# GitHub, and Gitea, Forgejo and Gogs, which have similar events.


def _named(message: Message) -> Refs:
    return [_full(message.get("ref"), message.get("ref_type"))]


def _github_merge(message: Message) -> Refs:
    pull = message.get("pull_request")
    if at(pull, "merged") is not True:
        return []
    # Gogs sends the names in members of their own.
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
        # A missing side is null: a new ref has no old side, and a deleted ref has no new side.
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
    # If a mirror has received too many refs, it lists only some of them, or none.
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
# The default branch may have changed, or the repository may have another address than the source knows.
_REPOSITORY = ProviderEvent(_any, says_where=False)
# A release creates its tag, if the tag doesn't exist.
_RELEASE = ProviderEvent(_any)
_LIKE_GITHUB = {
    "create": _MOVED,
    "delete": _MOVED,
    "pull_request": _PULL,
    "release": _RELEASE,
    "repository": _REPOSITORY,
}

# The rows by provider and event, as `webhooks.recognise` names them.
EVENTS: Mapping[tuple[str, str], ProviderEvent] = {
    (provider, event): row
    for provider, rows in {
        "forgejo": {"push": _PUSH, **_LIKE_GITHUB},
        "gitea": {"push": _PUSH, **_LIKE_GITHUB},
        "gogs": {"push": _FILES, **_LIKE_GITHUB},
        "github": {"push": _FILES, **_LIKE_GITHUB},
        # The event of a merge names addresses and branches of two repositories.
        "gitee": {"Push Hook": _FILES, "Tag Push Hook": _FILES, "Merge Request Hook": _REPOSITORY},
        "gitlab": {
            "Push Hook": _FILES,
            "Tag Push Hook": _FILES,
            "Merge Request Hook": _GITLAB_PULL,
            "Release Hook": _RELEASE,
            # The body names the event of a system hook. These events list no commits.
            "push": _PUSH,
            "tag_push": _PUSH,
            "merge_request": _GITLAB_PULL,
            "repository_update": ProviderEvent(_gitlab_update),
        },
        "bitbucket": {"repo:push": ProviderEvent(_cloud_push), "pullrequest:fulfilled": ProviderEvent(_cloud_merge)},
        "bitbucket server": {
            "repo:refs_changed": ProviderEvent(_server_push),
            "pr:merged": ProviderEvent(_server_merge),
            # The message has the addresses of the mirrored server.
            "mirror:repo_synchronized": ProviderEvent(_mirrored, says_where=False),
        },
        # A repository there has addresses in four forms. A message has only one or two of them.
        "azure devops": {
            "git.push": ProviderEvent(_azure_push, says_where=False),
            "git.pullrequest.merged": ProviderEvent(_azure_merge, says_where=False),
        },
        "plain": {"path": ProviderEvent(_any, Files.GIVEN, says_where=False)},
    }.items()
    for event, row in rows.items()
}
PINGS = frozenset({("github", "ping"), ("bitbucket server", "diagnostics:ping")})
