"""Which of two configurations a request over HTTP gets while a roll-out is in force."""

import pytest

from tests.fakes import KEY, FakeLine
from tests.http.serving import FilesReader
from vortexd.core.candidate import candidate_of
from vortexd.core.errors import RemoteError
from vortexd.core.model import Config, Key
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Headers
from vortexd.http.tracks import VARY, track_of

from .test_configuration import FILES, request_of

CANDIDATE = candidate_of(KEY)


@pytest.mark.parametrize(
    ("query", "headers", "has_candidate"),
    [
        ("", {}, False),
        ("instance=one", {}, True),
        ("instance=two", {}, False),
        ("", {"X-Vortex-Instance": "one"}, True),
        ("", {"X-Vortex-Instance": "two"}, False),
        ("instance=two", {"X-Vortex-Instance": "one"}, False),
        ("instance=one", {"X-Vortex-Instance": "two"}, True),
        ("canary=true", {}, True),
        ("canary=false", {}, False),
        ("canary=", {}, False),
        ("", {"X-Vortex-Canary": "true"}, True),
        ("canary=false", {"X-Vortex-Canary": "true"}, False),
        ("instance=two&canary=true", {}, False),
        ("instance=&canary=true", {}, True),
        ("token=secret&instance=o%6Ee", {}, True),
    ],
)
def test_the_name_decides_and_a_request_without_one_may_ask(
    query: str, headers: dict[str, str], has_candidate: bool
) -> None:
    line = FakeLine({KEY: {}, CANDIDATE: {"a": 1}})
    line.reached = {KEY: ("one",)}
    raw = Headers([(name.lower().encode(), value.encode()) for name, value in headers.items()])

    assert (CANDIDATE if has_candidate else KEY) == track_of(line, KEY, query, raw)


@pytest.mark.parametrize("query", ["instance=" + "x" * 129, "instance=%20a", "instance=%00", "canary=1", "canary=True"])
def test_a_name_or_a_wish_that_is_not_valid_is_refused(query: str) -> None:
    with pytest.raises(RemoteError, match="instance is a name|canary is true or false"):
        track_of(FakeLine({KEY: {}}), KEY, query, Headers([]))


class TwoTracks(FilesReader):
    """Files in which the candidate of a key has another document."""

    async def read(self, key: Key) -> Config:
        found = await super().read(Key(key.application, key.profile, key.label))
        if key != candidate_of(key):
            return found
        return await super().read(Key("shop", "dev", "main"))


SHOP = Key("shop", "prod", "main")


def rolling() -> FakeLine:
    line = FakeLine({SHOP: {}, candidate_of(SHOP): {}})
    line.reached, line.targets = {SHOP: ("one",)}, {SHOP: "t"}
    return line


async def test_each_track_has_its_version_tag_and_conditional_requests() -> None:
    endpoint = Configuration(TwoTracks(FILES), tracks=rolling())
    stable = await endpoint.answer(request_of("/shop-prod.json"))
    target = await endpoint.answer(request_of("/shop-prod.json?instance=one"))
    by_header = await endpoint.answer(request_of("/shop-prod.json", x_vortex_instance="one"))

    assert stable.headers["X-Vortex-Version"] != target.headers["X-Vortex-Version"]
    assert (target.body, target.headers) == (by_header.body, by_header.headers)
    assert stable.body != target.body
    assert f"Authorization, {VARY}" == stable.headers["Vary"] == target.headers["Vary"]
    for path, tag, status in (
        ("/shop-prod.json", stable.headers["ETag"], 304),
        ("/shop-prod.json", target.headers["ETag"], 200),
        ("/shop-prod.json?instance=one", target.headers["ETag"], 304),
        ("/shop-prod.json?instance=one", stable.headers["ETag"], 200),
    ):
        assert status == (await endpoint.answer(request_of(path, if_none_match=tag))).status


async def test_without_a_roll_out_of_its_key_nothing_of_a_response_changes() -> None:
    line = rolling()
    line.targets = {}
    with_tracks, without = [Configuration(TwoTracks(FILES), tracks=each) for each in (line, None)]
    for target in ("/shop-prod.json?instance=one", "/shop-prod.json?canary=7", "/shop-prod.json?instance=%00"):
        one, other = [await each.answer(request_of(target)) for each in (with_tracks, without)]
        assert (one.status, one.body, one.headers) == (other.status, other.body, other.headers)
