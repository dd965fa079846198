"""Parses webhooks: turns a request to `/monitor` into a `Hook`, for all providers and all their forms. Pure.

A `Hook` is made from the headers and the body, even if the server doesn't know the event. The caller has verified the
request. The server trusts a webhook only as a hint that a ref may have moved. It reads the changed files from the
repository itself. The refs and addresses of a hook limit which sources fetch. If there is any doubt about them, they are
left out, and every git source fetches.
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

# Bounds on the data of one request that the server keeps, logs and sends to other workers.
MAX_PATHS = 1_000
MAX_DESTINATIONS = 1_000
MAX_ADDRESSES = 32
MAX_REFS = 100
MAX_REFERENCE = 1_024
MAX_EVENT = 64
# No file system allows longer names.
_MAX_NAME = 255
_MAX_FIELDS = 1_000
# If a provider names no file, Spring assumes this file, which all applications read.
_EVERYBODY = ("application.yml",)
_UNKNOWN = "unknown"

# The order matters. Forgejo also sends the headers of Gitea, Gogs and GitHub. Gitea also sends those of Gogs and GitHub.
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
# The members of `repository` and `project` that can be compared with the address of a source. Other members have the address
# of an API or of a page.
_ADDRESSES = ("clone_url", "ssh_url", "git_url", "git_http_url", "git_ssh_url", "http_url", "html_url", "web_url")
_LINKS = ("clone", "html")
_SNS_TYPES = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
_TOPIC = re.compile(r"arn:[a-z-]{1,16}:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
_CONFIRMATION = re.compile(r"[0-9A-Za-z]{1,255}")


class Headers(Protocol):
    """The headers of a request. The case of names is ignored."""

    def get(self, key: str, default: str, /) -> str:
        """The value of a header, or the default."""
        ...


class Meaning(enum.Enum):
    """The meaning of a webhook.

    Attributes:
        CHANGE: A ref has moved, or may have moved.
        UNKNOWN: The server doesn't know this event or can't read its body. A ref may have moved.
        PING: The provider tests whether the server answers.
        UNCONFIRMED: Amazon SNS needs a confirmation of its subscription before it sends anything else.
        ENDED: Somebody has ended a subscription of Amazon SNS.
    """

    CHANGE = "change"
    UNKNOWN = "unknown"
    PING = "ping"
    UNCONFIRMED = "unconfirmed"
    ENDED = "ended"


@attrs.frozen
class Hook:
    """A webhook, as far as the server can parse it.

    Attributes:
        provider: The name of the sender for the log. For a known provider, a name from this module. For another sender, the
            name of its program. At most `MAX_EVENT` characters.
        event: The provider's name of the event, at most `MAX_EVENT` characters. If it sends no name, "".
        meaning: The meaning of the event.
        paths: The files that the event names. If a known event names no file, "application.yml".
        addresses: The addresses of the repository, in several spellings. If empty, any repository may have changed.
        refs: The full names of the branches and tags that were pushed or deleted. If empty, any ref may have changed.
        topic: The ARN of an SNS topic, if it has the form of an ARN; else "".
        confirmation: The code that confirms an SNS subscription, if it has the form of such a code; else "".
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
    """Parse a request. This never fails: if the server can't parse a request, its meaning is `Meaning.UNKNOWN`."""
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
    """Find the provider and its event in the headers. This doesn't parse the body, so it is safe before verification."""
    for provider, header in _EVENT_HEADERS:
        if event := _cut(headers.get(header, "")):
            return provider, event
    if event := _cut(headers.get("X-Event-Key", "")):
        is_cloud = headers.get("X-Hook-UUID", "") or event == "repo:push" or event.startswith("pullrequest:")
        return "bitbucket" if is_cloud else "bitbucket server", event
    return _cut(headers.get("User-Agent", "").partition("/")[0].strip()) or _UNKNOWN, ""


def destinations(paths: tuple[str, ...]) -> list[str]:
    """List the applications that read files with these names, as Spring does; `*` means all. At most `MAX_DESTINATIONS`."""
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
    """Parse the body as a JSON object, or as a form.

    A form has a JSON object in `payload`, or has `path`, which gives the same message as in JSON. For any other body, return
    None. The content type isn't used: SNS sends JSON as text/plain, and curl sends it as a form.
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
    """Find the provider and its event in the body, if no header names them."""
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
    """Whether a value is a text of at most this many characters that UTF-8 can encode. JSON allows lone surrogates."""
    if not isinstance(value, str) or len(value) > length:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_sns(event: str, message: Message) -> Hook:
    """Parse a message of an SNS topic. It is about the subscription, or contains a published message in `Message`."""
    topic = _matched(_TOPIC, message.get("TopicArn"))
    if event == "SubscriptionConfirmation":
        confirmation = _matched(_CONFIRMATION, message.get("Token"))
        return Hook("sns", event, Meaning.UNCONFIRMED, topic=topic, confirmation=confirmation)
    if event == "UnsubscribeConfirmation":
        return Hook("sns", event, Meaning.ENDED, topic=topic)
    inner = message.get("Message")
    # If the subscription uses raw delivery, the message has no envelope.
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
    """Read the paths in Spring's plain form. If `path` isn't a text or a list of texts, there are none."""
    path = message.get("path")
    paths = [path] if isinstance(path, str) else each(path)
    return tuple(paths) if all(isinstance(name, str) for name in paths) else ()


def _refs(named: provider_events.Refs) -> tuple[str, ...]:
    """Return full names of refs. If one isn't valid or there are too many, return none, which means any ref."""
    understood = [ref for ref in named if _is_text(ref, MAX_REFERENCE) and ref.startswith("refs/")]
    refs = tuple(dict.fromkeys(understood))
    return refs if len(understood) == len(named) and len(refs) <= MAX_REFS else ()


def _addresses(message: Message) -> tuple[str, ...]:
    """Return the addresses of a repository and its page.

    If one isn't valid or there are too many, return none, which means any repository.
    """
    found = tuple(dict.fromkeys(_found(message)))
    return found if len(found) <= MAX_ADDRESSES and all(_is_text(address, MAX_REFERENCE) for address in found) else ()


def _found(message: Message) -> Iterator[str]:
    for owner in (message.get("repository"), message.get("project")):
        values: list[Any] = [at(owner, name) for name in _ADDRESSES]
        for name in _LINKS:
            link = at(owner, "links", name)
            values += [at(one, "href") for one in (link if isinstance(link, list) else [link])]
        yield from (value for value in values if isinstance(value, str) and value)
