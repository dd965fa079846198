"""Payloads that are made once for all clients."""

import json
from typing import Any

import attrs

from tests.fakes import KEY, config, timestamp
from vortexd.core.generation import Generation
from vortexd.core.model import Change, Moment, Origin
from vortexd.core.term import PinnedConfig, Term
from vortexd.pipeline.encoder import Encoder, Payload

OLD, NEW = config(KEY, {"a": 1}), config(KEY, {"a": 2})


def kind(payload: bytes) -> str:
    return str(json.loads(payload)["type"])


def test_the_same_question_is_answered_with_the_same_bytes() -> None:
    encoder = Encoder(timestamp)
    change = Change(KEY, OLD, NEW, b"[]")

    assert encoder.change(change) is encoder.change(Change(KEY, OLD, NEW, b"[]"))
    assert encoder.snapshot(NEW) is encoder.snapshot(NEW)
    assert encoder.in_sync(NEW) is encoder.in_sync(NEW)


def test_each_question_has_its_own_answer() -> None:
    encoder = Encoder(timestamp)
    payloads = [
        encoder.change(Change(KEY, OLD, NEW, b"[]")),
        encoder.snapshot(NEW),
        encoder.in_sync(NEW),
        encoder.removed(KEY, OLD.version),
    ]

    assert ["config_change", "config_snapshot", "in_sync", "config_removed"] == [kind(payload) for payload in payloads]
    assert payloads[0] is encoder.known(OLD.version, NEW)
    assert payloads[1] is encoder.known(None, NEW)
    assert encoder.known("other", NEW) is None


def message(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)
    return found


def test_a_version_that_comes_back_with_another_commit_or_at_another_moment_has_payloads_of_its_own() -> None:
    encoder = Encoder(timestamp)
    moments = [Moment(1.0), Moment(2.0), Moment(2.0)]
    commits = ["c1", "c1", "c2"]
    seen = []
    for commit, moment in zip(commits, moments, strict=True):
        new = attrs.evolve(NEW, origin=Origin(commit, "Ann", ""), published=moment)
        for payload in (encoder.change(Change(KEY, OLD, new, b"[]")), encoder.snapshot(new)):
            found = message(payload)
            seen.append((found["origin"]["commit"], found["timestamp"]))
        seen.append((commit, message(encoder.in_sync(new))["timestamp"]))

    first, second = "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z"
    assert [("c1", first)] * 3 + [("c1", second)] * 3 + [("c2", second)] * 3 == seen


def test_the_end_of_a_key_says_when_it_ended_each_time() -> None:
    moments = iter(["one", "two"])
    encoder = Encoder(lambda: next(moments))
    ended = Change(KEY, OLD, None)

    assert ["one", "two"] == [message(encoder.change(ended))["timestamp"] for _ in range(2)]


def test_a_change_without_a_patch_is_the_payload_of_the_snapshot() -> None:
    encoder = Encoder(timestamp)

    assert encoder.snapshot(NEW) is encoder.change(Change(KEY, OLD, NEW)) is encoder.change(Change(KEY, None, NEW))
    assert encoder.known(OLD.version, NEW) is None


def test_the_payloads_that_are_kept_are_bounded() -> None:
    encoder = Encoder(timestamp, cache_bytes=10_000)
    configs = [config(KEY, {"a": number}) for number in range(1_000)]
    for each in configs:
        encoder.in_sync(each)

    assert len(encoder._payloads) < 10_000 / 512
    assert encoder.known(configs[999].version, configs[999]) is not None
    assert encoder.known(configs[0].version, configs[0]) is None


def test_with_less_room_the_oldest_go_at_once() -> None:
    encoder = Encoder(timestamp)
    configs = [config(KEY, {"a": number}) for number in range(50)]
    for each in configs:
        encoder.snapshot(each)
    known = [encoder.known(None, each) is not None for each in configs]
    encoder.replace(2_000)
    left = [encoder.known(None, each) is not None for each in configs]

    assert all(known)
    assert left == sorted(left)
    assert 0 < sum(left) < 5


def test_a_payload_is_framed_once_in_each_way() -> None:
    made: list[bytes] = []

    def one(payload: bytes) -> bytes:
        made.append(payload)
        return b"1" + payload

    def other(payload: bytes) -> bytes:
        return b"2" + payload

    payload = Payload(b"x")

    assert b"1x" == payload.framed(one)
    assert payload.framed(one) is payload.framed(one)
    assert b"2x" == payload.framed(other)
    assert [b"x"] == made
    assert Payload(b"x") == payload == b"x"


def test_a_payload_counts_with_its_frame_and_what_keeping_it_costs() -> None:
    first, second = config(KEY, {"a": "1"}), config(KEY, {"a": "2"})
    size = len(Encoder(timestamp).in_sync(first))
    for cache_bytes, is_kept in ((2 * (2 * size + 512), True), (2 * (2 * size + 512) - 1, False)):
        encoder = Encoder(timestamp, cache_bytes)
        encoder.in_sync(first)
        encoder.in_sync(second)

        assert is_kept is (encoder.known(first.version, first) is not None)
        assert encoder.known(second.version, second) is not None


def test_a_payload_has_the_generation_of_its_moment_and_a_later_number_makes_another_payload() -> None:
    number: list[Generation | None] = [None]
    encoder = Encoder(timestamp, generation=lambda _: number[0])
    change = Change(KEY, OLD, NEW, b"[]")

    def all_three() -> list[bytes]:
        return [encoder.change(change), encoder.snapshot(NEW), encoder.in_sync(NEW)]

    before = all_three()
    number[0] = Generation("ab", 7)
    assert encoder.known(None, NEW) is None
    after = all_three()

    assert [None] * 3 == [message(each).get("generation") for each in before]
    assert ["ab.7"] * 3 == [message(each)["generation"] for each in after]
    assert all(first is second for first, second in zip(after, all_three(), strict=True))


def test_a_stale_snapshot_is_not_the_snapshot_of_others() -> None:
    encoder = Encoder(timestamp)
    stale, usual = encoder.snapshot(NEW, is_stale=True), encoder.snapshot(NEW)

    assert message(stale)["stale"] is True
    assert "stale" not in message(usual)
    assert stale is encoder.snapshot(NEW, is_stale=True)
    assert usual is encoder.known(None, NEW)


def test_a_pinned_key_has_payloads_of_its_own_although_its_version_is_the_same() -> None:
    encoder = Encoder(timestamp)
    members = KEY, NEW.version, NEW.body, ()
    one, other = (PinnedConfig(*members, pinned=Term(1.0, until)) for until in (None, 7.0))

    untils = [message(encoder.in_sync(each)).get("pinned", {}).get("until", "-") for each in (NEW, one, other, NEW)]
    assert ["-", None, "1970-01-01T00:00:07.000Z", "-"] == untils
    assert None is encoder.known(None, one)
    assert encoder.snapshot(one) is encoder.snapshot(one) is encoder.known(None, one)
