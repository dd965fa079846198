"""Frames that are made once."""

import json

from tests.fakes import KEY, config, timestamp
from vortexd.model import Change
from vortexd.realtime.encoder import Encoder

OLD, NEW = config(KEY, {"a": 1}), config(KEY, {"a": 2})


def kind(frame: bytes) -> str:
    return str(json.loads(frame[frame.index(b"{") :])["type"])


def test_the_same_question_is_answered_with_the_same_bytes() -> None:
    encoder = Encoder(timestamp)
    change = Change(KEY, OLD, NEW, b"[]")

    assert encoder.change(change) is encoder.change(Change(KEY, OLD, NEW, b"[]"))
    assert encoder.snapshot(NEW) is encoder.snapshot(NEW)
    assert encoder.in_sync(NEW) is encoder.in_sync(NEW)
    assert encoder.removed(KEY, "v") is encoder.removed(KEY, "v")


def test_each_question_has_its_own_answer() -> None:
    encoder = Encoder(timestamp)
    frames = [
        encoder.change(Change(KEY, OLD, NEW, b"[]")),
        encoder.snapshot(NEW),
        encoder.in_sync(NEW),
        encoder.removed(KEY, OLD.version),
    ]

    assert ["config_change", "config_snapshot", "in_sync", "config_removed"] == [kind(frame) for frame in frames]
    assert frames[0] is encoder.known(KEY, OLD.version, NEW.version)
    assert encoder.known(KEY, "other", NEW.version) is None


def test_a_change_without_a_patch_is_the_frame_of_the_snapshot() -> None:
    encoder = Encoder(timestamp)

    assert encoder.snapshot(NEW) is encoder.change(Change(KEY, OLD, NEW)) is encoder.change(Change(KEY, None, NEW))
    assert encoder.known(KEY, OLD.version, NEW.version) is None


def test_the_frames_that_are_kept_are_bounded() -> None:
    encoder = Encoder(timestamp, cache_bytes=10_000)
    for number in range(1_000):
        encoder.removed(KEY, str(number))

    assert len(encoder._frames) < 10_000 / 512
    assert encoder.known(KEY, "999", None) is not None
    assert encoder.known(KEY, "0", None) is None


def test_with_less_room_the_oldest_go_at_once() -> None:
    encoder = Encoder(timestamp)
    for number in range(50):
        encoder.snapshot(config(KEY, {"a": number}))
    known = [encoder.known(KEY, None, config(KEY, {"a": number}).version) is not None for number in range(50)]
    encoder.replace(2_000)
    left = [encoder.known(KEY, None, config(KEY, {"a": number}).version) is not None for number in range(50)]

    assert all(known)
    assert left == sorted(left)
    assert 0 < sum(left) < 5
