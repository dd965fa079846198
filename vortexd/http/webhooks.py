"""Webhooks: a request to `/monitor` becomes a `Hook`, whichever provider sent it and in whatever form. Pure.

In come headers and a body, out goes a `Hook`, always: a request that nobody understands is a hook, too. The caller has verified the request.
Nothing in it is trusted but as a hint that a ref may have moved; the repository itself says which files changed. The refs and addresses of a hook
narrow down which sources fetch. So they are left out where there is any doubt about them, and every git source fetches.
"""

import enum
import json
import re
from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard
from urllib.parse import parse_qs

import attrs

from . import provider_events
from .provider_events import Message, at, each

# Bounds on what one request can make the server hold, log and tell other workers.
MAX_PATHS = 1_000
MAX_DESTINATIONS = 1_000
MAX_ADDRESSES = 32
MAX_REFS = 100
MAX_REFERENCE = 1_024
MAX_EVENT = 64
# No file system has longer names.
_MAX_NAME = 255
_MAX_FIELDS = 1_000
# Spring answers this file, which is for everybody, where a provider names none.
_EVERYBODY = ("application.yml",)
_UNKNOWN = "unknown"

# Forgejo says that it is Gitea, Gogs and GitHub as well, and Gitea that it is Gogs and GitHub.
_EVENT_HEADERS = (
    ("forgejo", "X-Forgejo-Event"),
    ("gitea", "X-Gitea-Event"),
    ("gogs", "X-Gogs-Event"),
    ("gitee", "X-Gitee-Event"),
    ("gitee", "X-Git-Oschina-Event"),
    ("github", "X-Github-Event"),
    ("gitlab", "X-Gitlab-Event"),
    ("sns", "X-Amz-Sns-Message-Type"),
)
# The members of `repository` and `project` that a source's address can be compared with. Other addresses lead to an API or to a page.
_ADDRESSES = ("clone_url", "ssh_url", "git_url", "git_http_url", "git_ssh_url", "http_url", "html_url", "web_url")
_LINKS = ("clone", "html")
_SNS_TYPES = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
_TOPIC = re.compile(r"arn:[a-z-]{1,16}:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
_CONFIRMATION = re.compile(r"[0-9A-Za-z]{1,255}")


class Headers(Protocol):
    """Names without regard to case."""

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default."""
        ...


class Meaning(enum.Enum):
    """The subject of a hook.

    Attributes:
        CHANGE: A ref has moved, or may have.
        UNKNOWN: The server doesn't know this event or can't read its body; a ref may have moved.
        PING: The provider tries whether the server answers.
        UNCONFIRMED: Amazon SNS wants its subscription confirmed before it sends anything else.
        ENDED: Somebody has ended a subscription of Amazon SNS.
    """

    CHANGE = "change"
    UNKNOWN = "unknown"
    PING = "ping"
    UNCONFIRMED = "unconfirmed"
    ENDED = "ended"


@attrs.frozen
class Hook:
    """A request, as far as the server understands it.

    Attributes:
        provider: The sender, for the log: a name from this module, or for strangers the name of their program, at most `MAX_EVENT` characters.
        event: The provider's own name for what happened, at most `MAX_EVENT` characters; "" where it gives none.
        meaning: Its subject.
        paths: The files it names; "application.yml" where an event that is understood names none.
        addresses: Those of the repository, in several spellings; none means any.
        refs: The full names of the branches and tags that were pushed or deleted; none means any.
        topic: The ARN of a topic of SNS, where it looks like one.
        confirmation: The code that confirms a subscription of SNS, where it looks like one.
    """

    provider: str
    event: str = ""
    meaning: Meaning = Meaning.CHANGE
    paths: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    topic: str = ""
    confirmation: str = ""


def recognise(headers: Headers, body: bytes) -> Hook:
    """Find out what a request says. It never fails: a request that it can't understand is `Meaning.UNKNOWN`."""
    message = _message(body)
    provider, event = sender(headers)
    if not event and message is not None:
        provider, event = _sender_in(message, provider)
    if provider == "sns" and event in _SNS_TYPES and message is not None:
        return _from_sns(event, message)
    if provider == "gitlab" and event == "System Hook" and message is not None:
        event = _cut(message.get("event_name") or message.get("object_kind")) or event
    if (provider, event) in provider_events.PINGS:
        return Hook(provider, event, Meaning.PING)
    known = provider_events.EVENTS.get((provider, event))
    if message is None or known is None:
        return Hook(provider, event, Meaning.UNKNOWN)
    return Hook(
        provider,
        event,
        paths=_paths(message, known.files),
        addresses=_addresses(message) if known.says_where else (),
        refs=_refs(known.refs(message)),
    )


def sender(headers: Headers) -> tuple[str, str]:
    """The provider and its event as far as the headers say; for a request whose body may not be parsed yet."""
    for provider, header in _EVENT_HEADERS:
        if event := _cut(headers.get(header, "")):
            return provider, event
    if event := _cut(headers.get("X-Event-Key", "")):
        is_cloud = headers.get("X-Hook-UUID", "") or event == "repo:push" or event.startswith("pullrequest:")
        return "bitbucket" if is_cloud else "bitbucket server", event
    return _cut(headers.get("User-Agent", "").partition("/")[0].strip()) or _UNKNOWN, ""


def destinations(paths: tuple[str, ...]) -> list[str]:
    """The answer of Spring: the applications that files of these names are for, `*` for all. At most `MAX_DESTINATIONS`."""
    found: dict[str, None] = {}
    for path in paths:
        name = path.replace("\\", "/").rpartition("/")[2]
        stem = (name.rpartition(".")[0] or name) if _is_text(name, _MAX_NAME) else ""
        while stem:
            found["*" if stem == "application" else stem] = None
            stem = stem.rpartition("-")[0]
        if len(found) >= MAX_DESTINATIONS:
            break
    return list(found)[:MAX_DESTINATIONS]


# The body.


def _message(body: bytes) -> Message | None:
    """The object that a body is, or that a form has in `payload`; a form of `path` as JSON would have it. None for anything else.

    The type that the request claims says little: SNS sends JSON as text/plain, and curl as a form.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if body.startswith(b"{"):
        return _parsed(body)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    if "payload" in fields:
        return _parsed(fields["payload"][0])
    return {"path": fields["path"]} if "path" in fields else None


def _parsed(text: str | bytes) -> Message | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


# Its sender.


def _sender_in(message: Message, stranger: str) -> tuple[str, str]:
    """The provider and its event where no header says so."""
    if isinstance(message.get("resource"), dict) and (event := _cut(message.get("eventType"))):
        return "azure devops", event
    if message.get("Type") in _SNS_TYPES and isinstance(message.get("TopicArn"), str):
        return "sns", str(message["Type"])
    if _given(message):
        return "plain", "path"
    return stranger, ""


def _cut(text: object) -> str:
    return text[:MAX_EVENT] if isinstance(text, str) else ""


def _is_text(value: object, length: int) -> TypeGuard[str]:
    """Whether something is a text of at most so many characters. JSON can hold halves of characters, which no UTF-8 can."""
    if not isinstance(value, str) or len(value) > length:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_sns(event: str, message: Message) -> Hook:
    """A message of a topic: about its subscription, or with something that somebody published in `Message`."""
    topic = _matched(_TOPIC, message.get("TopicArn"))
    if event == "SubscriptionConfirmation":
        confirmation = _matched(_CONFIRMATION, message.get("Token"))
        return Hook("sns", event, Meaning.UNCONFIRMED, topic=topic, confirmation=confirmation)
    if event == "UnsubscribeConfirmation":
        return Hook("sns", event, Meaning.ENDED, topic=topic)
    inner = message.get("Message")
    # A subscription with raw delivery has no envelope.
    published = _parsed(inner) if isinstance(inner, str) else message
    source = at(each(at(published, "Records")), 0, "eventSource") or at(published, "source")
    if published is None or source not in ("aws:codecommit", "aws.codecommit"):
        return Hook("sns", f"{event} {_cut(source)}".strip()[:MAX_EVENT], Meaning.UNKNOWN)
    return Hook("codecommit", event, paths=_EVERYBODY, refs=_refs(provider_events.codecommit_refs(published)))


def _matched(pattern: re.Pattern[str], text: object) -> str:
    return text if isinstance(text, str) and pattern.fullmatch(text) else ""


# Its contents.


def _paths(message: Message, files: provider_events.Files) -> tuple[str, ...]:
    match files:
        case provider_events.Files.IN_COMMITS:
            commits = each(message.get("commits"))
            named = (each(at(commit, kind)) for commit in commits for kind in ("added", "removed", "modified"))
            paths = dict.fromkeys(path for files in named for path in files if isinstance(path, str))
            return tuple(paths)[:MAX_PATHS]
        case provider_events.Files.GIVEN:
            return _given(message)[:MAX_PATHS]
        case provider_events.Files.UNNAMED:
            return _EVERYBODY


def _given(message: Message) -> tuple[str, ...]:
    """The paths in Spring's plain form; none where `path` is no text or list of texts."""
    path = message.get("path")
    paths = [path] if isinstance(path, str) else each(path)
    return tuple(paths) if all(isinstance(name, str) for name in paths) else ()


def _refs(named: provider_events.Refs) -> tuple[str, ...]:
    """Full names of refs; none, which means any, where one of them isn't understood or there are too many."""
    understood = [ref for ref in named if _is_text(ref, MAX_REFERENCE) and ref.startswith("refs/")]
    refs = tuple(dict.fromkeys(understood))
    return refs if len(understood) == len(named) and len(refs) <= MAX_REFS else ()


def _addresses(message: Message) -> tuple[str, ...]:
    """The addresses by which a repository can be cloned or seen; none, which means any, where there are too many or one is odd."""
    found = tuple(dict.fromkeys(_found(message)))
    return found if len(found) <= MAX_ADDRESSES and all(_is_text(address, MAX_REFERENCE) for address in found) else ()


def _found(message: Message) -> Iterator[str]:
    for owner in (message.get("repository"), message.get("project")):
        values: list[Any] = [at(owner, name) for name in _ADDRESSES]
        for name in _LINKS:
            link = at(owner, "links", name)
            values += [at(one, "href") for one in (link if isinstance(link, list) else [link])]
        yield from (value for value in values if isinstance(value, str) and value)
