"""Webhooks as providers send them: who is recognised, what is signed, and what Spring would answer."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from vortexd.http.webhooks import Hook, destinations, is_signed, recognise

GITHUB = "https://github.example/team/config.git"
PUSH = {
    "ref": "refs/heads/main",
    "commits": [{"added": ["a.yml"], "removed": [], "modified": ["foo-local-dev.yml"]}, {"modified": ["a.yml"]}],
    "repository": {"clone_url": GITHUB, "ssh_url": "git@github.example:team/config.git", "name": "config"},
}
PATHS = ("a.yml", "foo-local-dev.yml")
ADDRESSES = (GITHUB, "git@github.example:team/config.git")
ALL = ("application.yml",)


def found(message: object, **headers: str) -> Hook | None:
    return recognise(
        Headers({name.replace("_", "-"): value for name, value in headers.items()}), json.dumps(message).encode()
    )


@pytest.mark.parametrize(
    ("headers", "message", "hook"),
    [
        ({"X_Github_Event": "push"}, PUSH, Hook("github", PATHS, ADDRESSES, ("refs/heads/main",))),
        ({"X_Gogs_Event": "push"}, PUSH, Hook("gogs", PATHS, ADDRESSES, ("refs/heads/main",))),
        ({"X_Git_Oschina_Event": "Push Hook"}, PUSH, Hook("gitee", PATHS, ADDRESSES, ("refs/heads/main",))),
        (
            {"X_Gitea_Event": "push", "X_Gogs_Event": "push", "X_Github_Event": "push"},
            PUSH,
            Hook("gitea", ALL, ADDRESSES, ("refs/heads/main",)),
        ),
        (
            {"X_Gitlab_Event": "Push Hook"},
            {"ref": "refs/heads/x", "commits": [], "project": {"git_http_url": "https://gitlab.example/a/b.git"}},
            Hook("gitlab", (), ("https://gitlab.example/a/b.git",), ("refs/heads/x",)),
        ),
        (
            {"X_Gitlab_Event": "Tag Push Hook"},
            {"ref": "refs/tags/v1", "project": {}},
            Hook("gitlab", (), (), ("refs/tags/v1",)),
        ),
        (
            {"X_Event_Key": "repo:push", "X_Hook_UUID": "u"},
            {"push": {"changes": []}, "repository": {"links": {"html": {"href": "https://bitbucket.example/a/b"}}}},
            Hook("bitbucket", ALL, ("https://bitbucket.example/a/b",)),
        ),
        (
            {"X_Event_Key": "repo:refs_changed", "X_Request_Id": "r"},
            {"changes": [], "repository": {"links": {"clone": [{"href": "https://b.example/scm/p/r.git"}]}}},
            Hook("bitbucket server", ALL, ("https://b.example/scm/p/r.git",)),
        ),
        (
            {"X_Event_Key": "repo:push", "X_Hook_UUID": "u"},
            {
                "push": {
                    "changes": [
                        {"old": None, "new": {"type": "branch", "name": "new"}},
                        {"old": {"type": "tag", "name": "v1"}, "new": None},
                    ]
                }
            },
            Hook("bitbucket", ALL, (), ("refs/heads/new", "refs/tags/v1")),
        ),
        (
            {"X_Event_Key": "repo:refs_changed", "X_Request_Id": "r"},
            {"changes": [{"ref": {"id": "refs/heads/main"}}]},
            Hook("bitbucket server", ALL, (), ("refs/heads/main",)),
        ),
        ({"X_Event_Key": "pr:merged", "X_Request_Id": "r"}, {}, Hook("bitbucket server", ALL)),
        ({}, {"path": "a"}, Hook("plain", ("a",))),
        ({}, {"path": ["a", "b"]}, Hook("plain", ("a", "b"))),
    ],
)
def test_each_provider_is_recognised(headers: dict[str, str], message: object, hook: Hook) -> None:
    assert hook == found(message, **headers)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X_Github_Event": "ping"}, PUSH),
        ({"X_Gitea_Event": "push"}, {"commits": None}),
        ({"X_Event_Key": "repo:push"}, {"push": {"changes": []}}),
        ({"X_Event_Key": "pullrequest:fulfilled", "X_Hook_UUID": "u"}, {}),
        ({"X_Event_Key": "repo:refs_changed", "X_Request_Id": "r"}, {}),
        ({}, {"path": 7}),
        ({}, {"path": [7]}),
        ({}, {}),
        ({}, []),
    ],
)
def test_what_is_for_nobody_is_nothing(headers: dict[str, str], message: object) -> None:
    assert found(message, **headers) is None


def test_a_form_is_understood() -> None:
    headers = Headers({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})

    assert Hook("plain", ("a", "b/c.yml")) == recognise(headers, b"path=a&path=b%2Fc.yml")
    assert recognise(headers, b"\xff") is None


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text(max_size=5),
        lambda each: (
            st.lists(each)
            | st.dictionaries(
                st.sampled_from(
                    ["commits", "repository", "project", "push", "ref", "href", "path", "changes", "old", "new", "name"]
                ),
                each,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    event=st.sampled_from(["X-Github-Event", "X-Gitea-Event", "X-Gitlab-Event", "X-Other"]),
)
def test_no_body_is_more_than_a_hook_or_nothing(body: bytes, event: str) -> None:
    hook = recognise(Headers({event: "push"}), body)

    assert hook is None or all(isinstance(path, str) for path in hook.paths)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("foo-local-dev.yml",), ["foo-local-dev", "foo-local", "foo"]),
        (("application-local.yml",), ["application-local", "*"]),
        (("application.yml",), ["*"]),
        (("deep/er/foo.yml", "foo.yml", "bar"), ["foo", "bar"]),
        ((), []),
    ],
)
def test_destinations_are_springs(paths: tuple[str, ...], names: list[str]) -> None:
    assert names == destinations(paths)


SECRET, BODY = "s3cret", b'{"path": "a"}'
HEX = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("name", "value", "signed"),
    [
        ("X-Hub-Signature-256", f"sha256={HEX}", True),
        ("X-Hub-Signature", f"sha256={HEX}", True),
        ("X-Gitea-Signature", HEX, True),
        ("X-Gogs-Signature", HEX, True),
        ("X-Gitlab-Token", SECRET, True),
        ("X-Gitee-Token", SECRET, True),
        ("X-Hub-Signature-256", HEX, False),
        ("X-Hub-Signature-256", f"sha256={HEX[:-1]}0", False),
        ("X-Hub-Signature", f"sha1={HEX}", False),
        ("X-Gitlab-Token", "", False),
        ("X-Gitlab-Token", "ge\xf6", False),
        ("X-Gitea-Signature", "", False),
        ("X-Other", SECRET, False),
    ],
)
def test_who_signs_is_known_by_the_signature_alone(name: str, value: str, signed: bool) -> None:
    assert signed == is_signed(Headers({name: value}), BODY, SECRET)


def test_a_signature_is_for_one_body() -> None:
    headers: Any = Headers({"X-Gitea-Signature": HEX})

    assert not is_signed(headers, BODY + b" ", SECRET)
