"""Sends requests to the members of etcd in turn, with TLS, user and password.

Paths and JSON bodies arrive; parsed answers leave. If a member doesn't answer, later requests go to the next one. Only
a request that changes nothing, or that wasn't sent, is sent again.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import attrs
import orjson
import trio

from ..connection import Connection, Endpoint, Lost, NotSent
from ..engine import EngineAway, EngineError, OutcomeUnknown
from . import wire

# Seconds until one member must have answered. With three members, a request takes at most three times as long.
ANSWER = 2.0
# The least bytes per second at which an answer must arrive. So a long answer has more time than a short one.
LEAST_RATE = 1_000_000
# etcd ends a watch with this header if its member loses the leader. Without it the member falls silent.
_HAS_LEADER = {"Grpc-Metadata-hasleader": "true"}
# The longest answer, and the longest line of a watch, in bytes. etcd's largest request is 1.5 MiB by default; an answer
# holds many of them.
_LONGEST = 134_217_728
# Idle connections that are kept for later requests.
_KEPT = 2


Connect: TypeAlias = Callable[[Endpoint, ssl.SSLContext | None], Awaitable[Connection]]
_Parse: TypeAlias = Callable[[Mapping[str, Any]], Any]


@attrs.frozen
class Login:
    """The user, and a function that returns the password. If it can't, it raises EngineError."""

    user: str
    password: Callable[[], Awaitable[str]]


class _NotSent(EngineAway):
    """A request wasn't sent."""


class Gateway:
    """The gateways of all members of one etcd.

    Args:
        endpoints: The members. At least one.
        tls: Checks the members' certificates, and holds one's own. None means the authorities of the system.
        login: The user, or None if etcd's authentication isn't enabled.
        connect: Opens a connection.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        tls: ssl.SSLContext | None = None,
        login: Login | None = None,
        connect: Connect = Connection.connect,
    ) -> None:
        self._connect = connect
        self._endpoints = tuple(endpoints)
        self._tls = tls
        self._login = login
        self._token = ""
        self._current = 0
        self._idle: list[tuple[Endpoint, Connection]] = []

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self._endpoints)

    @property
    def endpoint(self) -> Endpoint:
        """The member that the next request is sent to."""
        return self._endpoints[self._current]

    def move_on(self) -> None:
        """Send later requests to the next member."""
        self._current = (self._current + 1) % len(self._endpoints)

    def forget_token(self) -> bool:
        """Ask for a new token before the next request. Return whether there was one."""
        had_token = bool(self._token)
        self._token = ""
        return had_token

    async def ask(self, path: str, body: Mapping[str, Any], parse: _Parse = dict) -> Any:
        """Send a request that changes nothing, and return the parsed answer. Each member is tried once.

        Args:
            parse: Parses the answer. If it raises Malformed, another server listens there, and the next member is tried.

        Raises:
            EngineError: etcd's error; EngineAway if no member answers.
        """
        away = EngineAway("etcd has no members")
        for _ in self._endpoints:
            try:
                return parse(await self._authenticated(path, body))
            except (EngineAway, OutcomeUnknown, wire.Malformed) as error:
                away = self._all_failed(error)
                self.move_on()
        raise away

    async def change(self, path: str, body: Mapping[str, Any], parse: _Parse = dict) -> Any:
        """Send a request that changes something, and return the parsed answer. Only an unsent request is sent to another member.

        Args:
            parse: Parses the answer. If it raises Malformed, the outcome is unknown.

        Raises:
            OutcomeUnknown: The request was sent, and no answer arrived that says what became of it.
            EngineError: etcd's error; EngineAway if the request wasn't sent to any member.
        """
        away = EngineAway("etcd has no members")
        for _ in self._endpoints:
            try:
                return parse(await self._authenticated(path, body))
            except _NotSent as error:
                away = self._all_failed(error)
                self.move_on()
            except (EngineAway, OutcomeUnknown, wire.Malformed) as error:
                # etcd says "request timed out" also of a request that it carries out afterwards.
                unknown = OutcomeUnknown(f"{self.endpoint}: {error}")
                self.move_on()
                raise unknown from None
        raise away

    def _all_failed(self, last: Exception) -> EngineAway:
        """Make the error for the case that the current member was the last one, and failed as all others did."""
        count = len(self._endpoints)
        all_of_them = f"all {count} endpoints failed; " if count > 1 else ""
        return EngineAway(f"{all_of_them}{self.endpoint}: {last}")

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator["Lines"]:
        """Send a request to one member, and return the lines of its answer as they arrive.

        Raises:
            EngineError: etcd's error; EngineAway if the member doesn't answer in time.
        """
        headers = _HAS_LEADER | await self._headers()
        with _within(ANSWER):
            connection = await self._connected(self.endpoint)
        try:
            with _within(ANSWER) as scope:
                status = await connection.post(path, headers, orjson.dumps(body))
                if status != 200:
                    raise _error(status, await _whole(connection, scope))
            yield Lines(connection)
        finally:
            await connection.aclose()

    async def _authenticated(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request to the current member with the token, and once more if the token isn't valid any more."""
        try:
            return await self._send(path, body, await self._headers())
        except wire.StaleToken:
            self.forget_token()
            return await self._send(path, body, await self._headers())

    async def _headers(self) -> dict[str, str]:
        if self._login is None:
            return {}
        if not self._token:
            body = {"name": self._login.user, "password": await self._login.password()}
            try:
                self._token = wire.token(await self._send("/v3/auth/authenticate", body, {}))
            except wire.NoAuthentication:
                return {}
            except (EngineAway, OutcomeUnknown) as error:
                # The request itself wasn't sent. A token that never arrived harms nobody.
                raise _NotSent(str(error)) from None
        return {"Authorization": self._token}

    async def _send(self, path: str, body: Mapping[str, Any], headers: dict[str, str]) -> Mapping[str, Any]:
        """Send a request to the current member.

        Raises:
            _NotSent: The request wasn't sent.
            OutcomeUnknown: It was sent, and no complete answer arrived.
            EngineError: etcd's error.
        """
        endpoint = self.endpoint
        connection = None
        try:
            with trio.fail_after(ANSWER) as scope:
                connection = await self._kept(endpoint) or await self._connected(endpoint)
                status = await connection.post(path, headers, orjson.dumps(body))
                data = await _whole(connection, scope)
        except (Lost, trio.TooSlowError) as error:
            reason = _reason(error)
            raise (OutcomeUnknown(reason) if connection is not None else _NotSent(reason)) from None
        finally:
            if connection is not None:
                await self._leave(endpoint, connection)
        if status != 200:
            raise _error(status, data)
        return _loaded(data)

    async def _connected(self, endpoint: Endpoint) -> Connection:
        try:
            return await self._connect(endpoint, self._tls)
        except NotSent as error:
            raise _NotSent(str(error)) from None

    async def _kept(self, endpoint: Endpoint) -> Connection | None:
        """Return an idle connection that the member hasn't closed."""
        for each in [each for each in self._idle if each[0] == endpoint]:
            self._idle.remove(each)
            if each[1].is_quiet():
                return each[1]
            await each[1].aclose()
        return None

    async def _leave(self, endpoint: Endpoint, connection: Connection) -> None:
        """Keep a connection for the next request, or close it."""
        if connection.is_reusable and len(self._idle) < _KEPT:
            connection.begin_anew()
            self._idle.append((endpoint, connection))
        else:
            await connection.aclose()


class Lines:
    """The lines of an answer, each a JSON object, as they arrive.

    Args:
        connection: The connection, whose answer has begun.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = bytearray()

    async def next(self) -> Mapping[str, Any]:
        """Return the next line. A cancelled call loses nothing.

        Raises:
            EngineAway: The answer has ended.
            Malformed: It isn't what etcd sends.
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > _LONGEST:
                raise wire.TooLong(f"a line is longer than {_LONGEST} bytes")
            try:
                data = await self._connection.receive()
            except Lost as error:
                raise EngineAway(str(error)) from None
            if data is None:
                raise EngineAway("etcd has ended the answer")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return _loaded(line)


@contextmanager
def _within(seconds: float) -> Iterator[trio.CancelScope]:
    """Turn a lost connection, and one that doesn't answer in time, into EngineAway."""
    try:
        with trio.fail_after(seconds) as scope:
            yield scope
    except (Lost, trio.TooSlowError) as error:
        raise EngineAway(_reason(error)) from None


def _reason(error: Exception) -> str:
    return f"no answer within {ANSWER:g} s" if isinstance(error, trio.TooSlowError) else str(error)


def _error(status: int, data: bytes) -> EngineError:
    try:
        return wire.error_of(orjson.loads(data))
    except orjson.JSONDecodeError:
        # etcd 3.4 disables its gateway by default if it reads its settings from a file.
        remedy = "; if it is etcd, set enable-grpc-gateway: true" if status == 404 else ""
        return wire.Malformed(f"status {status}, and no answer of etcd's{remedy}")


async def _whole(connection: Connection, scope: trio.CancelScope) -> bytes:
    """Read an answer to its end, within a bound. Each part that arrives moves the deadline of the scope."""
    parts, size = list[bytes](), 0
    while (part := await connection.receive()) is not None:
        parts.append(part)
        size += len(part)
        scope.deadline += len(part) / LEAST_RATE
        if size > _LONGEST:
            raise wire.TooLong(f"the answer is longer than {_LONGEST} bytes")
    return b"".join(parts)


def _loaded(data: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise wire.Malformed("the answer isn't JSON") from None
    if not isinstance(answer, dict):
        raise wire.Malformed("the answer isn't a JSON object")
    return answer
