"""Frames between a supervisor and its workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.process.peers.wire import MOST, Decoder, Frame, encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.builds(Frame, texts, texts, texts, texts), max_size=6), st.integers(1, 50))
def test_frames_come_out_whole_however_they_are_cut(frames: list[Frame], size: int) -> None:
    data = b"".join(map(encode, frames))
    decoder = Decoder()
    cut = [data[start : start + size] for start in range(0, len(data), size)]

    assert frames == [frame for each in cut for frame in decoder.receive(each)]


def test_a_length_that_no_frame_has_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(ValueError, match="too long"):
        list(Decoder().receive((MOST + 1).to_bytes(4, "big")))
