"""Webhooks of real providers: recognition, their contents, and the response of Spring."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from vortexd.http import webhooks
from vortexd.http.provider_events import EVENTS
from vortexd.http.webhooks import Hook, Meaning, destinations, recognise, sender

GITHUB = "https://github.example/team/config.git"
PUSH = {
    "ref": "refs/heads/main",
    "commits": [{"added": ["a.yml"], "removed": [], "modified": ["foo-local-dev.yml"]}, {"modified": ["a.yml"]}],
    "repository": {"clone_url": GITHUB, "ssh_url": "git@github.example:team/config.git", "name": "config"},
}
PATHS = ("a.yml", "foo-local-dev.yml")
ADDRESSES = (GITHUB, "git@github.example:team/config.git")
ALL = ("application.yml",)
MAIN, FEATURE, V1 = "refs/heads/main", "refs/heads/feature", "refs/tags/v1"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:config"
TRIGGER = {
    "Records": [
        {"eventSource": "aws:codecommit", "codecommit": {"references": [{"ref": MAIN, "commit": "5f6a"}, {"ref": V1}]}}
    ]
}
STATE_CHANGE = {"source": "aws.codecommit", "detail": {"event": "referenceUpdated", "referenceFullName": MAIN}}
SERVER_REPOSITORY = {
    "slug": "config",
    "links": {
        "clone": [
            {"href": "ssh://git@b.example:7999/p/r.git", "name": "ssh"},
            {"href": "https://b.example/scm/p/r.git", "name": "http"},
        ],
        "self": [{"href": "https://b.example/projects/P/repos/r/browse"}],
    },
    "project": {"links": {"self": [{"href": "https://b.example/projects/P"}]}},
}
SERVER_ADDRESSES = ("ssh://git@b.example:7999/p/r.git", "https://b.example/scm/p/r.git")
GITLAB_PROJECT = {
    "web_url": "https://gitlab.example/a/b",
    "avatar_url": "https://gitlab.example/avatar",
    "git_ssh_url": "git@gitlab.example:a/b.git",
    "git_http_url": "https://gitlab.example/a/b.git",
}
GITLAB_ADDRESSES = ("https://gitlab.example/a/b.git", "git@gitlab.example:a/b.git", "https://gitlab.example/a/b")
MERGED = {"object_attributes": {"state": "merged", "target_branch": "main", "source_branch": "feature"}}
PULL = {"merged": True, "base": {"ref": "main"}, "head": {"ref": "feature"}}


def headers_of(headers: dict[str, str]) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in headers.items()})


def found(message: object, **headers: str) -> Hook:
    return recognise(headers_of(headers), json.dumps(message).encode())


def change(provider: str, event: str, paths: Any = ALL, addresses: Any = (), refs: Any = ()) -> Hook:
    return Hook(provider, event, Meaning.CHANGE, paths, addresses, refs)


@pytest.mark.parametrize(
    ("headers", "message", "hook"),
    [
        # GitHub and its relatives.
        ({"X_Github_Event": "push"}, PUSH, change("github", "push", PATHS, ADDRESSES, (MAIN,))),
        ({"X_Github_Event": "push"}, {"ref": MAIN, "commits": []}, change("github", "push", (), (), (MAIN,))),
        ({"X_Gogs_Event": "push"}, PUSH, change("gogs", "push", PATHS, ADDRESSES, (MAIN,))),
        (
            {"X_Gitea_Event": "push", "X_Gogs_Event": "push", "X_Github_Event": "push"},
            PUSH,
            change("gitea", "push", ALL, ADDRESSES, (MAIN,)),
        ),
        ({"X_Forgejo_Event": "push"}, PUSH, change("forgejo", "push", ALL, ADDRESSES, (MAIN,))),
        (
            {"X_Forgejo_Event": "push", "X_Gitea_Event": "push", "X_Gogs_Event": "push", "X_Github_Event": "push"},
            PUSH,
            change("forgejo", "push", ALL, ADDRESSES, (MAIN,)),
        ),
        *(
            ({f"X_{provider}_Event": event}, message, change(provider.lower(), event, ALL, (), refs))
            for provider in ("Github", "Gitea", "Forgejo", "Gogs")
            for event, message, refs in (
                ("create", {"ref": "feature", "ref_type": "branch"}, (FEATURE,)),
                ("create", {"ref": "v1", "ref_type": "tag"}, (V1,)),
                ("delete", {"ref": "feature", "ref_type": "branch"}, (FEATURE,)),
                ("pull_request", {"action": "closed", "pull_request": PULL}, (MAIN, FEATURE)),
                ("pull_request", {"action": "opened", "pull_request": PULL | {"merged": False}}, ()),
                ("release", {"action": "published", "release": {"tag_name": "v1"}}, ()),
            )
        ),
        # Another default branch, or another name of the repository: no address is known to be the old one.
        ({"X_Github_Event": "repository"}, PUSH, change("github", "repository")),
        # Gitee.
        ({"X_Git_Oschina_Event": "Push Hook"}, PUSH, change("gitee", "Push Hook", PATHS, ADDRESSES, (MAIN,))),
        ({"X_Gitee_Event": "Push Hook"}, PUSH, change("gitee", "Push Hook", PATHS, ADDRESSES, (MAIN,))),
        ({"X_Gitee_Event": "Tag Push Hook"}, {"ref": V1}, change("gitee", "Tag Push Hook", (), (), (V1,))),
        ({"X_Gitee_Event": "Merge Request Hook"}, PUSH, change("gitee", "Merge Request Hook")),
        # GitLab.
        (
            {"X_Gitlab_Event": "Push Hook"},
            {"object_kind": "push", "ref": "refs/heads/x", "commits": [], "project": GITLAB_PROJECT},
            change("gitlab", "Push Hook", (), GITLAB_ADDRESSES, ("refs/heads/x",)),
        ),
        (
            {"X_Gitlab_Event": "Push Hook"},
            PUSH | {"repository": {"homepage": "https://gitlab.example/a"}},
            change("gitlab", "Push Hook", PATHS, (), (MAIN,)),
        ),
        (
            {"X_Gitlab_Event": "Tag Push Hook"},
            {"ref": V1, "project": {}},
            change("gitlab", "Tag Push Hook", (), (), (V1,)),
        ),
        (
            {"X_Gitlab_Event": "Merge Request Hook"},
            MERGED,
            change("gitlab", "Merge Request Hook", refs=(MAIN, FEATURE)),
        ),
        ({"X_Gitlab_Event": "Release Hook"}, {"tag": "v1"}, change("gitlab", "Release Hook")),
        (
            {"X_Gitlab_Event": "System Hook"},
            {"event_name": "push", "object_kind": "push", "ref": MAIN, "commits": [], "project": GITLAB_PROJECT},
            change("gitlab", "push", ALL, GITLAB_ADDRESSES, (MAIN,)),
        ),
        (
            {"X_Gitlab_Event": "System Hook"},
            {"event_name": "tag_push", "ref": V1},
            change("gitlab", "tag_push", refs=(V1,)),
        ),
        (
            {"X_Gitlab_Event": "System Hook"},
            {"object_kind": "merge_request", **MERGED},
            change("gitlab", "merge_request", refs=(MAIN, FEATURE)),
        ),
        (
            {"X_Gitlab_Event": "System Hook"},
            {"event_name": "repository_update", "refs": [MAIN, V1], "project": GITLAB_PROJECT},
            change("gitlab", "repository_update", ALL, GITLAB_ADDRESSES, (MAIN, V1)),
        ),
        # Bitbucket Cloud.
        (
            {"X_Event_Key": "repo:push", "X_Hook_UUID": "u"},
            {"push": {"changes": []}, "repository": {"links": {"html": {"href": "https://bitbucket.example/a/b"}}}},
            change("bitbucket", "repo:push", ALL, ("https://bitbucket.example/a/b",)),
        ),
        (
            {"X_Event_Key": "repo:push"},
            {
                "push": {
                    "changes": [
                        {"old": None, "new": {"type": "branch", "name": "new"}},
                        {"old": {"type": "tag", "name": "v1"}, "new": None},
                    ]
                }
            },
            change("bitbucket", "repo:push", refs=("refs/heads/new", V1)),
        ),
        (
            {"X_Event_Key": "pullrequest:fulfilled", "X_Hook_UUID": "u"},
            {
                "pullrequest": {
                    "state": "MERGED",
                    "destination": {"branch": {"name": "main"}},
                    "source": {"branch": {"name": "feature"}},
                },
                "repository": {"links": {"html": {"href": "https://bitbucket.example/a/b"}}},
            },
            change("bitbucket", "pullrequest:fulfilled", ALL, ("https://bitbucket.example/a/b",), (MAIN, FEATURE)),
        ),
        # Bitbucket Server.
        (
            {"X_Event_Key": "repo:refs_changed", "X_Request_Id": "r"},
            {"changes": [{"ref": {"id": MAIN}}], "repository": SERVER_REPOSITORY},
            change("bitbucket server", "repo:refs_changed", ALL, SERVER_ADDRESSES, (MAIN,)),
        ),
        # Older versions name pages of the repository, and no address to clone.
        (
            {"X_Event_Key": "repo:refs_changed", "X_Request_Id": "r"},
            {"changes": [], "repository": {"links": {"self": [{"href": "https://b.example/projects/P/repos/r"}]}}},
            change("bitbucket server", "repo:refs_changed"),
        ),
        (
            {"X_Event_Key": "pr:merged", "X_Request_Id": "r"},
            {"pullRequest": {"toRef": {"id": MAIN}, "fromRef": {"id": FEATURE}}},
            change("bitbucket server", "pr:merged", refs=(MAIN, FEATURE)),
        ),
        (
            {"X_Event_Key": "pr:merged", "X_Request_Id": "r"},
            {},
            change("bitbucket server", "pr:merged"),
        ),
        (
            {"X_Event_Key": "mirror:repo_synchronized", "X_Request_Id": "r"},
            {"changes": [{"ref": {"id": MAIN}}], "refLimitExceeded": False, "repository": SERVER_REPOSITORY},
            change("bitbucket server", "mirror:repo_synchronized", refs=(MAIN,)),
        ),
        # Azure DevOps, which has no header of its own.
        (
            {},
            {
                "eventType": "git.push",
                "resource": {
                    "refUpdates": [{"name": MAIN}],
                    "repository": {"remoteUrl": "https://dev.azure.example/o/p/_git/r"},
                },
            },
            change("azure devops", "git.push", refs=(MAIN,)),
        ),
        (
            {},
            {
                "eventType": "git.pullrequest.merged",
                "resource": {"targetRefName": MAIN, "sourceRefName": FEATURE},
                "repository": {"clone_url": GITHUB},
            },
            change("azure devops", "git.pullrequest.merged", refs=(MAIN, FEATURE)),
        ),
        # CodeCommit, in the envelope of SNS.
        (
            {"X_Amz_Sns_Message_Type": "Notification"},
            {"Type": "Notification", "TopicArn": TOPIC, "Message": json.dumps(TRIGGER)},
            change("codecommit", "Notification", refs=(MAIN, V1)),
        ),
        (
            {},
            {"Type": "Notification", "TopicArn": TOPIC, "Message": json.dumps(STATE_CHANGE)},
            change("codecommit", "Notification", refs=(MAIN,)),
        ),
        # A subscription with raw delivery.
        ({"X_Amz_Sns_Message_Type": "Notification"}, TRIGGER, change("codecommit", "Notification", refs=(MAIN, V1))),
        # By hand.
        ({}, {"path": "a"}, change("plain", "path", ("a",))),
        ({}, {"path": ["a", "b"], "repository": {"clone_url": GITHUB}}, change("plain", "path", ("a", "b"))),
    ],
)
def test_each_provider_is_recognised(headers: dict[str, str], message: object, hook: Hook) -> None:
    assert hook == found(message, **headers)


@pytest.mark.parametrize(
    ("headers", "message", "provider", "event"),
    [
        ({"X_Github_Event": "star"}, PUSH, "github", "star"),
        ({"X_Gitea_Event": "ping"}, PUSH, "gitea", "ping"),
        ({"X_Gitlab_Event": "Pipeline Hook"}, PUSH, "gitlab", "Pipeline Hook"),
        ({"X_Gitlab_Event": "System Hook"}, {"event_name": "user_create"}, "gitlab", "user_create"),
        ({"X_Gitlab_Event": "System Hook"}, {"event_name": 7}, "gitlab", "System Hook"),
        ({"X_Gitlab_Event": "push"}, [], "gitlab", "push"),
        ({"X_Event_Key": "pullrequest:created"}, PUSH, "bitbucket", "pullrequest:created"),
        ({"X_Event_Key": "repo:fork", "X_Hook_UUID": "u"}, PUSH, "bitbucket", "repo:fork"),
        ({"X_Event_Key": "repo:forked"}, PUSH, "bitbucket server", "repo:forked"),
        ({}, {"eventType": "build.complete", "resource": {}}, "azure devops", "build.complete"),
        ({}, {"eventType": "git.push"}, "unknown", ""),
        ({}, {"eventType": 7, "resource": {}}, "unknown", ""),
        ({"X_Github_Event": "System Hook"}, {"event_name": "push"}, "github", "System Hook"),
        ({"X_Github_Event": "Notification"}, {"Message": json.dumps(TRIGGER)}, "github", "Notification"),
        ({"X_Gitlab_Event": "System Hook"}, [], "gitlab", "System Hook"),
        ({"X_Amz_Sns_Message_Type": "Notification"}, [], "sns", "Notification"),
        ({"X_Amz_Sns_Message_Type": "Other"}, PUSH, "sns", "Other"),
        ({"X_Amz_Sns_Message_Type": "Notification"}, {"Message": "{}"}, "sns", "Notification"),
        ({"X_Amz_Sns_Message_Type": "Notification"}, {"Message": "a text"}, "sns", "Notification"),
        ({"X_Amz_Sns_Message_Type": "Notification"}, {"Message": "7"}, "sns", "Notification"),
        (
            {"X_Amz_Sns_Message_Type": "Notification"},
            {"Message": json.dumps({"Records": [{"eventSource": "aws:s3"}]})},
            "sns",
            "Notification aws:s3",
        ),
        (
            {"X_Amz_Sns_Message_Type": "Notification"},
            {"Message": json.dumps({"source": "aws.health"})},
            "sns",
            "Notification aws.health",
        ),
        ({}, {"Type": "Notification", "Message": json.dumps(TRIGGER)}, "unknown", ""),
        ({}, {"Type": "Other", "TopicArn": TOPIC}, "unknown", ""),
        ({"User_Agent": "curl/8.5.0"}, {}, "curl", ""),
        ({"User_Agent": "sns"}, {"Message": json.dumps(TRIGGER)}, "sns", ""),
        ({"User_Agent": "/1.0"}, {}, "unknown", ""),
        ({}, {"path": 7}, "unknown", ""),
        ({}, {"path": [7]}, "unknown", ""),
        ({}, {"path": ["a", 7]}, "unknown", ""),
        ({}, {"path": []}, "unknown", ""),
        ({}, {}, "unknown", ""),
        ({}, [], "unknown", ""),
        ({"X_Github_Event": "push"}, [PUSH], "github", "push"),
    ],
)
def test_what_is_not_recognised_may_be_news_of_anything(
    headers: dict[str, str], message: object, provider: str, event: str
) -> None:
    """No ref and no address of it is relied on, and nobody is named in the answer."""
    assert Hook(provider, event, Meaning.UNKNOWN) == found(message, **headers)


@pytest.mark.parametrize(
    ("headers", "hook"),
    [
        ({"X_Github_Event": "ping"}, Hook("github", "ping", Meaning.PING)),
        ({"X_Event_Key": "diagnostics:ping"}, Hook("bitbucket server", "diagnostics:ping", Meaning.PING)),
    ],
)
def test_a_ping_is_no_news(headers: dict[str, str], hook: Hook) -> None:
    assert hook == found(PUSH, **headers)
    assert hook == recognise(headers_of(headers), b"")


@pytest.mark.parametrize("headers", [{}, {"X_Amz_Sns_Message_Type": "SubscriptionConfirmation"}])
def test_a_subscription_is_known_with_what_confirms_it(headers: dict[str, str]) -> None:
    message = {
        "Type": "SubscriptionConfirmation",
        "TopicArn": TOPIC,
        "Token": "2336412f37",
        "SubscribeURL": "https://sns.example/?Action=ConfirmSubscription",
        "Message": json.dumps(TRIGGER),
    }

    hook = found(message, **headers)

    expected = Hook("sns", "SubscriptionConfirmation", Meaning.UNCONFIRMED, topic=TOPIC, confirmation="2336412f37")
    assert expected == hook


def test_a_subscription_that_was_ended_is_known_by_its_topic() -> None:
    message = {"Type": "UnsubscribeConfirmation", "TopicArn": TOPIC, "Token": "2336412f37"}

    assert Hook("sns", "UnsubscribeConfirmation", Meaning.ENDED, topic=TOPIC) == found(message)


@pytest.mark.parametrize(
    ("topic", "token"),
    [
        ("arn:aws:sns:eu-west-1:123456789012:", "a" * 256),
        (TOPIC + "; rm -rf /", "a; rm -rf /"),
        (TOPIC + "\n", "a\n"),
        ("arn:aws:s3:::config", ""),
        ("arn:aws:sns:eu-west-1:12345678901:config", None),
        ("arn:aws:sns:eu-west-1:123456789012:" + "a" * 257, ["a"]),
    ],
)
def test_nothing_odd_gets_into_the_command_that_confirms_a_subscription(topic: object, token: object) -> None:
    message = {"TopicArn": topic, "Token": token}

    hook = found(message, X_Amz_Sns_Message_Type="SubscriptionConfirmation")

    assert ("", "") == (hook.topic, hook.confirmation)


def test_the_longest_topic_and_token_are_taken() -> None:
    topic, token = f"arn:aws-cn:sns:cn-north-1:123456789012:{'a' * 256}", "a" * 255

    hook = found({"TopicArn": topic, "Token": token}, X_Amz_Sns_Message_Type="SubscriptionConfirmation")

    assert (topic, token) == (hook.topic, hook.confirmation)


# In whatever form it comes.

JSON = json.dumps(PUSH)
PUSHED = change("github", "push", PATHS, ADDRESSES, (MAIN,))


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", None],
)
@pytest.mark.parametrize(
    "body",
    [
        JSON,
        " \r\n\t" + JSON,
        "\ufeff" + JSON,
        urlencode({"payload": JSON}),
        urlencode({"payload": JSON, "path": "a"}),
        urlencode({"a": "b", "payload": JSON}),
    ],
)
def test_json_and_forms_are_told_apart_by_what_they_are(content_type: str | None, body: str) -> None:
    headers = Headers({"X-Github-Event": "push"})
    if content_type:
        headers["Content-Type"] = content_type

    assert PUSHED == recognise(headers, body.encode())


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b"path=a&path=b%2Fc.yml", ("a", "b/c.yml")),
        (b"other=1&path=a+b", ("a b",)),
        (b"path=a&" + b"&".join(b"x=1" for _ in range(999)), ("a",)),
    ],
)
def test_a_form_of_paths_is_understood(body: bytes, paths: tuple[str, ...]) -> None:
    assert change("plain", "path", paths) == recognise(Headers(), body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"path",
        b"path=",
        b"payload=",
        b"payload=%7B",
        b"payload=%5B%5D",
        b"a=b",
        b"{",
        b"[]",
        b'"text"',
        b"{" * 100_000,
        b'{"a":' + b"[" * 100_000,
        b"path=a&" + b"&".join(b"x=1" for _ in range(1_000)),
    ],
)
def test_a_body_that_nobody_can_read_is_not_recognised(body: bytes) -> None:
    assert Hook("unknown", "", Meaning.UNKNOWN) == recognise(Headers(), body)
    assert Hook("github", "push", Meaning.UNKNOWN) == recognise(Headers({"X-Github-Event": "push"}), body)


# Within bounds.


def test_the_bounds_are_what_one_request_may_cost() -> None:
    assert (1_000, 1_000) == (webhooks.MAX_PATHS, webhooks.MAX_DESTINATIONS)
    assert (32, 100, 1_024, 64) == (
        webhooks.MAX_ADDRESSES,
        webhooks.MAX_REFS,
        webhooks.MAX_REFERENCE,
        webhooks.MAX_EVENT,
    )


def refs_of(*refs: object) -> tuple[str, ...]:
    message = {"event_name": "repository_update", "refs": list(refs)}
    return found(message, X_Gitlab_Event="System Hook").refs


def test_refs_narrow_down_only_where_each_of_them_is_understood() -> None:
    longest = "refs/heads/".ljust(webhooks.MAX_REFERENCE, "x")

    assert (MAIN, V1) == refs_of(MAIN, V1, MAIN)
    assert (longest,) == refs_of(longest)
    for odd in ("main", "", None, 7, [MAIN], longest + "x", "refs/heads/\ud800"):
        assert () == refs_of(MAIN, odd)


def test_more_refs_than_are_passed_on_are_any() -> None:
    most = [f"refs/heads/{number}" for number in range(webhooks.MAX_REFS)]

    assert tuple(most) == refs_of(*most, *most)
    assert () == refs_of(*most, MAIN)


def addresses_of(*addresses: object) -> tuple[str, ...]:
    message = {"repository": {"links": {"clone": [{"href": each} for each in addresses]}}}
    return found(message, X_Event_Key="repo:refs_changed").addresses


def test_addresses_narrow_down_only_where_each_of_them_is_understood() -> None:
    longest = "https://git.example/".ljust(webhooks.MAX_REFERENCE, "x")

    assert (longest, GITHUB) == addresses_of(longest, GITHUB, longest)
    assert (GITHUB,) == addresses_of(GITHUB, "", None, 7)
    assert () == addresses_of(GITHUB, longest + "x")
    assert () == addresses_of(GITHUB, "https://git.example/\ud800")


def test_more_addresses_than_are_passed_on_are_any() -> None:
    most = [f"https://git.example/{number}" for number in range(webhooks.MAX_ADDRESSES)]

    assert tuple(most) == addresses_of(*most)
    assert () == addresses_of(*most, GITHUB)


@pytest.mark.parametrize(
    "name", ["clone_url", "ssh_url", "git_url", "git_http_url", "git_ssh_url", "http_url", "html_url", "web_url"]
)
@pytest.mark.parametrize("owner", ["repository", "project"])
def test_each_address_of_the_repository_itself_is_read(owner: str, name: str) -> None:
    assert (GITHUB,) == found({owner: {name: GITHUB}}, X_Github_Event="push").addresses


@pytest.mark.parametrize(
    "repository",
    [
        {"url": GITHUB},
        {"owner": {"html_url": GITHUB}},
        {"avatar_url": GITHUB},
        {"links": {"self": {"href": GITHUB}}},
        {"links": {"html": GITHUB}},
        [],
        None,
    ],
)
def test_other_addresses_are_not_taken_for_the_repositorys(repository: object) -> None:
    assert () == found({"repository": repository}, X_Github_Event="push").addresses


def test_files_are_named_once_and_no_more_than_are_answered() -> None:
    files = [f"{number}.yml" for number in range(webhooks.MAX_PATHS + 1)]
    message = {"commits": [{"added": [*files, 7]}, {"removed": files}, 7, {"modified": 7}]}

    assert tuple(files[: webhooks.MAX_PATHS]) == found(message, X_Github_Event="push").paths
    assert tuple(files[: webhooks.MAX_PATHS]) == found({"path": files}).paths
    assert () == found({"commits": 7}, X_Github_Event="push").paths


@pytest.mark.parametrize("event", ["e" * 64, "e" * 65, "e" * 10_000])
def test_names_from_the_network_are_cut(event: str) -> None:
    cut = "e" * 64

    assert ("github", cut) == sender(Headers({"X-Github-Event": event}))
    assert ("bitbucket server", cut) == sender(Headers({"X-Event-Key": event}))
    assert (cut, "") == sender(Headers({"User-Agent": event}))
    assert cut == found({"event_name": event}, X_Gitlab_Event="System Hook").event
    assert cut == found({"eventType": event, "resource": {}}).event
    inner = json.dumps({"source": event})
    assert f"Notification {cut}"[:64] == found({"Message": inner}, X_Amz_Sns_Message_Type="Notification").event


READ = """
    commits repository project push ref ref_type href path changes old new name pull_request pullrequest merged base object_attributes
    state resource eventType refUpdates Message Records codecommit references detail links clone refs event_name
"""


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.sampled_from(["refs/heads/a", "branch", "https://git.example/a"]),
        lambda each: (
            st.lists(each)
            | st.dictionaries(
                st.sampled_from(READ.split()),
                each,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    header=st.sampled_from(
        ["X-Github-Event", "X-Gitea-Event", "X-Gitlab-Event", "X-Event-Key", "X-Amz-Sns-Message-Type", "X-Other"]
    ),
    event=st.sampled_from(sorted({event for _, event in EVENTS} | {"System Hook", "Notification"})),
)
def test_any_body_is_a_hook(body: bytes, header: str, event: str) -> None:
    hook = recognise(Headers({header: event}), body)

    assert all(isinstance(text, str) for text in (*hook.paths, *hook.addresses, *hook.refs))
    assert all(ref.startswith("refs/") for ref in hook.refs)
    assert all(isinstance(name, str) for name in destinations(hook.paths))


# The answer.


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("foo-local-dev.yml",), ["foo-local-dev", "foo-local", "foo"]),
        (("application-local.yml",), ["application-local", "*"]),
        (("application.yml",), ["*"]),
        (("deep/er/foo.yml", "foo.yml", "bar"), ["foo", "bar"]),
        (("deep\\foo.yml", ".hidden"), ["foo", ".hidden"]),
        (("a" * 251 + ".yml",), ["a" * 251]),
        (("a" * 252 + ".yml", "b"), ["b"]),
        (("\ud800.yml", "b"), ["b"]),
        ((), []),
    ],
)
def test_destinations_are_springs(paths: tuple[str, ...], names: list[str]) -> None:
    assert names == destinations(paths)


def test_an_answer_has_an_end() -> None:
    paths = [f"a{number}-b" for number in range(webhooks.MAX_DESTINATIONS)]

    assert webhooks.MAX_DESTINATIONS == len(destinations(tuple(paths[:500])))
    assert destinations(tuple(paths[:500])) == destinations(tuple(paths))
    assert webhooks.MAX_DESTINATIONS == len(destinations(("a", *paths)))
