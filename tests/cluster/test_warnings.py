"""Facts about the warnings of records that can't be read."""

from structlog.testing import capture_logs

from vortexd.cluster.warnings import RecordWarnings


def test_a_record_is_logged_once_for_each_reason() -> None:
    warnings = RecordWarnings()
    with capture_logs() as logs:
        for key, reason in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("a", "y")):
            warnings.unusable(key, reason)
    assert [(each["key"], each["reason"]) for each in logs] == [("a", "x"), ("a", "y"), ("b", "x")]
    assert logs[0] == {
        "event": "cluster record unusable",
        "log_level": "warning",
        "key": "a",
        "reason": "x",
        "consequence": "this node passes over it",
    }


def test_a_record_that_was_usable_or_gone_in_between_is_logged_again() -> None:
    warnings = RecordWarnings()
    with capture_logs() as logs:
        for key in ("a", "b", "c"):
            warnings.unusable(key, "x")
        warnings.usable("a")
        warnings.usable("never seen")
        warnings.keep(frozenset(["b", "d"]))
        for key in ("a", "b", "c"):
            warnings.unusable(key, "x")
    assert [each["key"] for each in logs] == ["a", "b", "c", "a", "c"]
