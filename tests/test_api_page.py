"""vortexd-api(7) and the code agree: messages and their members, error codes, close codes, and reserved routes."""

import ast
import json
import re
from pathlib import Path

import pytest

from tests.fakes import KEY, config
from tests.http.described import ENDPOINTS
from vortexd.core.diff import patch_between
from vortexd.core.model import Change, Json, Origin
from vortexd.core.patterns import Pattern
from vortexd.core.term import PinnedConfig, Term
from vortexd.http.monitor import MOST_UNKNOWN
from vortexd.http.provider_events import EVENTS, PINGS
from vortexd.http.routes import RESERVED
from vortexd.http.webhooks import MAX_DESTINATIONS
from vortexd.protocol import messages
from vortexd.protocol.close import CloseReason
from vortexd.realtime.session import Answer, Session
from vortexd.settings.realtime import RealtimeSettings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "man" / "vortexd-api.7").read_text()
NOW = "2030-01-01T00:00:00.000Z"
EVERYWHERE = {"type", "schema", "timestamp"}


def section(name: str) -> str:
    found = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh )", PAGE, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def described(name: str) -> dict[str, set[str]]:
    """The messages of a section, with their members."""
    found = re.findall(r"^\.It Cm ([a-z_]+)(?: No \{ Ns Va ([a-z_ ,]+) Ns \})?$", section(name), re.MULTILINE)
    return {kind: set(filter(None, re.split(r"[ ,]+", members))) for kind, members in found}


def said() -> list[dict[str, object]]:
    """Each message that the server can say, with all the members it can have."""
    document: dict[str, Json] = {"name": "x" * 100, "size": 1}
    old = config(KEY, dict(document))
    unpinned = config(KEY, document | {"size": 2})
    new = PinnedConfig(
        KEY, unpinned.version, unpinned.body, (), origin=Origin("c" * 40, "Ann", NOW), pinned=Term(1.0, 2.0)
    )
    change = Change(KEY, old, new, patch_between(old, new))
    texts = [
        messages.hello("id", "vortexd", 30, 10, "config_snapshot", NOW),
        messages.config_snapshot(new, NOW, "ab.1", is_stale=True),
        messages.config_change(change, NOW, "ab.1"),
        messages.config_removed(KEY, "v", NOW),
        messages.in_sync(new, NOW, "ab.1"),
        messages.subscribed([Pattern()], NOW),
        messages.unsubscribed([Pattern()], NOW),
        messages.ping(KEY, "v", NOW),
        messages.pong(NOW),
        messages.lagged(1, NOW),
        messages.connection_closing("stopping", 1, NOW),
        messages.error("INVALID_MESSAGE", "no", NOW),
    ]
    return [json.loads(text) for text in texts]


def test_every_message_of_the_server_is_described_with_its_members() -> None:
    actual = {str(message["type"]): set(message) - EVERYWHERE for message in said()}

    assert described("MESSAGES OF THE SERVER") == actual
    assert all(set(message) >= EVERYWHERE for message in said())


def test_the_messages_here_are_all_there_are() -> None:
    """What `messages` can build, by its calls of `_message`."""
    tree = ast.parse(Path(messages.__file__).read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_message"
    ]
    kinds = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}

    assert len(calls) >= len(kinds) > 0
    assert kinds == {message["type"] for message in said()}


EXAMPLES: dict[str, dict[str, object]] = {
    "subscribe": {"patterns": ["a:b"]},
    "unsubscribe": {"patterns": ["a:b"]},
    "resync": {"last_version": "v", "mode": "diff", "app": "orders", "profile": "dev", "label": "main"},
    "ping": {},
    "pong": {},
    "ack": {
        "version": "v",
        "status": "rejected",
        "error": "no",
        "app": "orders",
        "profile": "dev",
        "label": "main",
    },
}


def test_every_message_of_a_client_is_described_with_its_members() -> None:
    assert described("MESSAGES OF A CLIENT") == {kind: set(members) for kind, members in EXAMPLES.items()}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_is_described_is_understood(kind: str) -> None:
    requests = Session(KEY, RealtimeSettings()).receive(json.dumps({"type": kind} | EXAMPLES[kind]), 0.0, NOW)

    assert not [each for each in requests if isinstance(each, Answer) and b"error" in each.message]


def test_no_other_type_is_understood() -> None:
    tree = ast.parse((ROOT / "vortexd" / "realtime" / "session.py").read_text())
    known = {
        case.pattern.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Match)
        for case in node.cases
        if isinstance(case.pattern, ast.MatchValue) and isinstance(case.pattern.value, ast.Constant)
    }

    assert set(EXAMPLES) == known


def test_every_error_code_is_described() -> None:
    sources = "".join(
        path.read_text() for package in ("protocol", "realtime") for path in (ROOT / "vortexd" / package).glob("*.py")
    )
    used = set(re.findall(r'"([A-Z]+_[A-Z]+|FORBIDDEN)"', sources))

    assert used == set(re.findall(r"^\.It Cm ([A-Z_]+)$", section("MESSAGES OF THE SERVER"), re.MULTILINE))


def test_every_close_code_is_described_with_its_text_and_advice() -> None:
    rows = re.findall(r"^\.It (\d{4}) Ta (.*) Ta (yes|no)\b.*$", section("CLOSE CODES"), re.MULTILINE)

    assert [(str(reason.code), reason.text, "yes" if reason.may_return else "no") for reason in CloseReason] == rows


def test_every_reserved_segment_is_named() -> None:
    listed = re.search(r"First segments that are never an application:\n(.*)\.$", section("HTTP"), re.MULTILINE)

    assert listed
    declared = {path.split("/")[1] for each in ENDPOINTS for path in each.paths}
    assert sorted(RESERVED | declared) == listed[1].split(", ")


@pytest.mark.parametrize("name", re.findall(r"^\.It Ic (.*)$", section("LIMITS"), re.MULTILINE))
def test_every_limit_is_a_setting(name: str) -> None:
    settings = (ROOT / "conf" / "vortexd.toml").read_text()

    for key in name.split(" , "):
        assert re.search(rf"^# {key} = ", settings, re.MULTILINE), key


PROVIDERS = {
    "github": "GitHub",
    "gitea": "Gitea",
    "gitlab": "GitLab",
    "gitee": "Gitee",
    "bitbucket": "Bitbucket Cloud",
    "bitbucket server": "Bitbucket Server",
    "azure devops": "Azure DevOps",
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_event_of_a_provider_that_is_understood_is_named_and_no_other(provider: str) -> None:
    found = re.search(rf"^\.It {PROVIDERS[provider]} , .*\n(.*)$", section("WEBHOOKS"), re.MULTILINE)
    assert found
    named = re.sub(r", for which nothing is fetched| as a System Hook", "", found[1].rstrip("."))

    events = {event for each, event in {*EVENTS, *PINGS} if each == provider}
    assert sorted(events) == sorted(re.split("[,;] ", named))


def test_the_relatives_of_gitea_have_its_events() -> None:
    events = {each: {event for provider, event in EVENTS if provider == each} for each, _ in EVENTS}

    assert events["gitea"] == events["forgejo"] == events["gogs"]
    assert {*events} - {"forgejo", "gogs", "plain"} == {*PROVIDERS}
    assert 2 == section("WEBHOOKS").count("The same as Gitea.")


def test_the_bounds_of_webhooks_are_on_their_page() -> None:
    assert f"at most {MAX_DESTINATIONS:,}." in section("WEBHOOKS")
    assert f"for {MOST_UNKNOWN} of them at most" in section("WEBHOOKS")


def test_each_header_that_proves_something_is_on_the_page() -> None:
    source = (ROOT / "vortexd/http/signatures.py").read_text()
    headers = set(re.findall(r'"(X-[A-Za-z0-9-]+)"', source))

    assert len(headers) > 7
    assert set() == {header for header in headers if not re.search(rf"\b{header}\b", section("WEBHOOKS"))}
