"""Notices to the operator, which are logged once."""

from typing import Any

from structlog.testing import capture_logs

from vortexd.source.git.notices import Notices


def test_labels_that_are_left_out_are_named_once() -> None:
    notices = Notices("git")
    with capture_logs() as logs:
        notices.left_out(["refs/heads/a#b", "refs/heads/x\x1b"])
        notices.left_out(["refs/heads/a#b", "refs/heads/x\x1b"])
        notices.left_out(["refs/heads/x\x1b"])
        notices.left_out([])

    [entry] = logs
    assert ("labels left out", "warning", "git") == (entry["event"], entry["log_level"], entry["source"])
    assert (["refs/heads/a#b", "refs/heads/x?"], 0) == (entry["labels"], entry["more"])
    assert "+ and @" in entry["reason"]


def test_what_is_new_among_what_was_left_out_is_named_alone() -> None:
    notices = Notices("git")
    with capture_logs() as logs:
        notices.left_out(["a"])
        notices.left_out(["a", "b"])
        notices.left_out(["b"])
        notices.left_out(["a", "b"])

    assert [["a"], ["b"], ["a"]] == [entry["labels"] for entry in logs]


def test_of_many_a_few_are_named_and_the_others_counted() -> None:
    with capture_logs() as logs:
        Notices("git").left_out([f"{number:02}" for number in range(12)])
        Notices("git").left_out([f"{number:02}" for number in range(10)])

    assert [(10, 2), (10, 0)] == [(len(entry["labels"]), entry["more"]) for entry in logs]
    assert ["00", "09"] == [logs[0]["labels"][index] for index in (0, -1)]


def test_links_that_lead_nowhere_are_named_once_for_all_labels() -> None:
    notices = Notices("git")
    with capture_logs() as logs:
        notices.not_followed([{"a.yml": "why", "b.yml": "because"}, {"a.yml": "why"}])
        notices.not_followed([{"a.yml": "why"}])
        notices.not_followed([])

    [entry] = logs
    assert ("links not followed", "warning") == (entry["event"], entry["log_level"])
    assert (["a.yml: why", "b.yml: because"], 0) == (entry["links"], entry["more"])
    assert "they count as missing" == entry["consequence"]


def test_links_are_counted_beyond_ten() -> None:
    with capture_logs() as logs:
        Notices("git").not_followed([{f"{number:02}": "why" for number in range(11)}])

    assert (10, 1) == (len(logs[0]["links"]), logs[0]["more"])


def test_a_search_path_into_a_submodule_is_named_once() -> None:
    notices = Notices("git")
    with capture_logs() as logs:
        notices.obstructed([("shared/", "shared"), ("shared/", "shared")])
        notices.obstructed([("shared/", "shared")])
        notices.obstructed((f"{number:02}/", "x") for number in range(12))

    assert "search path leads into a submodule" == logs[0]["event"]
    assert ("shared/", "shared") == (logs[0]["search_path"], logs[0]["submodule"])
    assert "source of its own" in logs[0]["remedy"]
    assert 1 + 10 == len(logs)


def test_a_ref_that_git_refuses_is_named_once_with_what_becomes_of_it() -> None:
    notices = Notices("git")
    with capture_logs() as logs:
        said = notices.refused({"refs/heads/a": "why", "refs/heads/b": "because"}, ["refs/heads/b"])
        again = notices.refused({"refs/heads/a": "why"}, [])
        other = notices.refused({"refs/heads/a": "another"}, [])

    assert ["refs/heads/a can't be fetched: why", "refs/heads/b can't be fetched: because"] == said
    assert ([], ["refs/heads/a can't be fetched: another"]) == (again, other)
    keys = ("event", "label", "reason", "consequence")
    assert [
        ("label skipped", "refs/heads/a", "why", "it isn't served"),
        ("label skipped", "refs/heads/b", "because", "it stays as it was"),
        ("label skipped", "refs/heads/a", "another", "it isn't served"),
    ] == [tuple(entry[key] for key in keys) for entry in logs]


def test_of_many_refused_refs_ten_are_named() -> None:
    with capture_logs() as logs:
        said = Notices("git").refused({f"{number:02}": "why" for number in range(13)}, [])
        Notices("git").refused({f"{number:02}": "why" for number in range(10)}, [])

    assert 13 == len(said)
    assert [("labels skipped", 3)] == [(entry["event"], entry["more"]) for entry in logs if "more" in entry]
    assert 10 + 1 + 10 == len(logs)


def default_label(notices: Notices, label: str, *labels: str, is_set: bool = False) -> tuple[str, list[Any]]:
    with capture_logs() as logs:
        return notices.default_label(label, is_set, labels), list(logs)


def test_the_default_label_is_said_when_it_is_another_one() -> None:
    notices = Notices("git")
    problem, logs = default_label(notices, "trunk", "trunk", "dev")
    again = default_label(notices, "trunk", "trunk", "other")
    _, other = default_label(notices, "dev", "trunk", "dev", is_set=True)

    assert ("", ("", [])) == (problem, again)
    assert [("default label", "info", "trunk")] == [(each["event"], each["log_level"], each["label"]) for each in logs]
    assert "default_label isn't set, so the remote's HEAD decides" == logs[0]["reason"]
    assert "default_label is set" == other[0]["reason"]


def test_a_default_label_that_is_missing_says_what_to_set_and_what_there_is() -> None:
    notices = Notices("git")
    problem, [entry] = default_label(notices, "main", "trunk", "dev")
    again = default_label(notices, "main", "trunk", "dev", "new")
    back = default_label(notices, "main", "main", "dev")
    gone, _ = default_label(notices, "main", "dev")

    assert ("no default label", "warning", "main") == (entry["event"], entry["log_level"], entry["label"])
    assert "set default_label to an existing branch or tag: dev, trunk" == entry["remedy"]
    assert f"there is no branch or tag main for requests without a label; {entry['remedy']}" == problem
    assert ("", []) == again
    assert ("", "default label") == (back[0], back[1][0]["event"])
    assert gone.endswith("an existing branch or tag: dev")


def test_the_labels_that_there_are_are_a_few() -> None:
    eleven, _ = default_label(Notices("git"), "main", *(f"{number:02}" for number in range(11)))
    ten, _ = default_label(Notices("git"), "main", *(f"{number:02}" for number in range(10)))

    assert eleven.endswith("08, 09 and 1 more")
    assert ten.endswith("08, 09")
