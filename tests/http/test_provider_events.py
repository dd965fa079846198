"""The refs that each event names. A ref in an unknown form is None."""

from typing import Any

import pytest

from vortexd.http.provider_events import EVENTS, at, codecommit_refs, each

MAIN = "refs/heads/main"


@pytest.mark.parametrize(
    ("value", "steps", "found"),
    [
        ({"a": [{"b": 1}]}, ("a", 0, "b"), 1),
        ({"a": 1}, (), {"a": 1}),
        ({"a": [1]}, ("a", 1), None),
        ({"a": [1]}, ("a", "b"), None),
        ({"a": 1}, ("a", "b"), None),
        ({"a": 1}, ("b",), None),
        ({"a": 1}, (0,), None),
        (None, ("a",), None),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(value: object, steps: tuple[str | int, ...], found: object) -> None:
    assert found == at(value, *steps)


@pytest.mark.parametrize(("value", "items"), [([1], [1]), ({"a": 1}, []), ("text", []), (None, [])])
def test_only_a_list_has_items(value: object, items: list[Any]) -> None:
    assert items == each(value)


@pytest.mark.parametrize(
    ("provider", "event", "message", "refs"),
    [
        ("github", "push", {}, [None]),
        ("github", "push", {"ref": 7}, [7]),
        ("github", "create", {"ref": "main", "ref_type": "repository"}, [None]),
        ("github", "create", {"ref": "main", "ref_type": ["branch"]}, [None]),
        ("github", "create", {"ref": "", "ref_type": "branch"}, [None]),
        ("github", "create", {"ref": None, "ref_type": "branch"}, [None]),
        ("gitea", "create", {"ref": MAIN, "ref_type": "branch"}, [MAIN]),
        ("github", "pull_request", {}, []),
        ("github", "pull_request", {"pull_request": {"merged": "yes"}}, []),
        ("github", "pull_request", {"pull_request": {"merged": True, "base": {"ref": "main"}}}, [MAIN, None]),
        (
            "gogs",
            "pull_request",
            {"pull_request": {"merged": True, "base_branch": "main", "head_branch": "x"}},
            [MAIN, "refs/heads/x"],
        ),
        ("github", "release", {"release": {"tag_name": "v1"}}, []),
        ("gitlab", "Merge Request Hook", {"object_attributes": {"state": "opened", "target_branch": "main"}}, []),
        ("gitlab", "Merge Request Hook", {"object_attributes": {"state": "merged"}}, [None, None]),
        ("gitlab", "repository_update", {"refs": [], "changes": [{"ref": MAIN}, 7]}, [MAIN, None]),
        ("gitlab", "repository_update", {"refs": [MAIN], "changes": [{"ref": "refs/heads/x"}]}, [MAIN]),
        ("gitlab", "repository_update", {}, []),
        ("bitbucket", "repo:push", {}, []),
        ("bitbucket", "repo:push", {"push": {"changes": [{"old": None, "new": None}]}}, [None]),
        ("bitbucket", "repo:push", {"push": {"changes": [7]}}, [None]),
        ("bitbucket", "repo:push", {"push": {"changes": [{"new": {"name": "x", "type": "bookmark"}}]}}, [None]),
        ("bitbucket", "repo:push", {"push": {"changes": [{"old": 7, "new": {"name": "x", "type": "tag"}}]}}, [None, "refs/tags/x"]),
        ("bitbucket", "pullrequest:fulfilled", {"pullrequest": {"destination": {"branch": {"name": "main"}}}}, [MAIN, None]),
        ("bitbucket server", "repo:refs_changed", {"changes": [{"ref": {"id": MAIN}}, {"ref": MAIN}]}, [MAIN, None]),
        ("bitbucket server", "pr:merged", {"pullRequest": {"toRef": {"id": MAIN}}}, [MAIN, None]),
        ("bitbucket server", "mirror:repo_synchronized", {"changes": [{"ref": {"id": MAIN}}], "refLimitExceeded": True}, []),
        ("bitbucket server", "mirror:repo_synchronized", {"syncType": "SNAPSHOT"}, []),
        ("azure devops", "git.push", {"resource": {"refUpdates": [{"name": MAIN}, {}]}}, [MAIN, None]),
        ("azure devops", "git.push", {"resource": []}, []),
        ("azure devops", "git.pullrequest.merged", {"resource": {"targetRefName": MAIN}}, [MAIN, None]),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_none(provider: str, event: str, message: dict[str, Any], refs: list[object]) -> None:
    assert refs == EVENTS[provider, event].refs(message)


@pytest.mark.parametrize(
    ("message", "refs"),
    [
        ({}, [None]),
        ({"Records": []}, [None]),
        ({"Records": [7]}, [None]),
        ({"Records": [{"eventName": "TriggerEventTest", "codecommit": {"references": []}}]}, [None]),
        (
            {"Records": [{"codecommit": {"references": [{"ref": MAIN}]}}, {"codecommit": {"references": [7]}}]},
            [MAIN, None],
        ),
        ({"detail": {"event": "pullRequestCreated", "destinationReference": MAIN, "isMerged": "False"}}, [None]),
        (
            {"detail": {"isMerged": "True", "destinationReference": MAIN, "sourceReference": "refs/heads/x"}},
            [MAIN, "refs/heads/x"],
        ),
        ({"detail": {"referenceFullName": MAIN}}, [MAIN]),
    ],
)
def test_codecommit_names_refs_in_records_or_in_detail(message: dict[str, Any], refs: list[object]) -> None:
    assert refs == codecommit_refs(message)
