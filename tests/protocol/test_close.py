"""Close reasons: each is valid in a close frame, and each is different."""

from vortexd.protocol.close import CloseReason


def test_every_code_is_legal_and_its_own() -> None:
    codes = [reason.code for reason in CloseReason]

    assert len(codes) == len(set(codes))
    assert all(1000 <= code <= 1014 or 4000 <= code <= 4999 for code in codes)


def test_every_text_fits_a_control_frame() -> None:
    """RFC 6455 section 5.5: 125 bytes, of which the code takes two."""
    assert all(len(reason.text.encode()) <= 123 for reason in CloseReason)


def test_what_may_not_be_sent_is_not() -> None:
    """RFC 6455 section 7.4.1."""
    assert [CloseReason.LOST] == [reason for reason in CloseReason if not reason.is_sent]
