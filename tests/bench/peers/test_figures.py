import attrs
import pytest

from .figures import Column, Row, Sample, counted, heartbeats, notes, ratios, summary, table, windows


def sample(**changes: float) -> Sample:
    return attrs.evolve(Sample(**dict.fromkeys(attrs.fields_dict(Sample), 1.0)), **changes)


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([], 0, "–"),
        ([3.0], 0, "3"),
        ([9.0, 1.0, 3.0], 0, "3 (1–9)"),
        ([1.0, 2.0], 1, "1.5 (1.0–2.0)"),
        ([0.101, 0.102, 0.103], 1, "0.1"),
        ([1234.5, 99_999.0, 5_000.0], 0, "5,000 (1,234–99,999)"),
    ],
)
def test_summary_is_the_median_with_the_range_unless_both_look_the_same(
    values: list[float], digits: int, text: str
) -> None:
    assert text == summary(values, digits)


def test_each_ratio_compares_the_values_of_one_round() -> None:
    assert [1.5, 8.0] == ratios([3.0, 8.0], [2.0, 1.0])


def test_a_round_that_the_floor_or_the_server_lacks_has_no_ratio() -> None:
    assert [1.0] == ratios([1.0], [1.0, 1.0])
    assert [1.0] == ratios([1.0, 1.0], [1.0])
    assert [] == ratios([1.0], [])


def test_windows_overlap_by_half() -> None:
    assert [3 / 30, 5 / 30] == windows([10.0, 11.0, 13.0, 16.0], 30.0)


def test_fewer_than_three_readings_make_no_window() -> None:
    assert [] == windows([1.0, 2.0], 30.0)


@pytest.mark.parametrize("pongs", [[0, 10, 10, 20], [0, 0, 10, 10], [0, 5, 10, 15]])
def test_clients_got_one_heartbeat_in_each_interval_whether_together_or_spread(pongs: list[float]) -> None:
    assert 1.0 == heartbeats(pongs, 10)


def test_clients_without_heartbeats_are_noticed() -> None:
    assert 0.0 == heartbeats([7, 7, 7], 10)


@pytest.mark.parametrize(("number", "text"), [(0, "0 rounds"), (1, "1 round"), (2, "2 rounds")])
def test_a_number_other_than_one_has_the_plural(number: int, text: str) -> None:
    assert text == counted(number, "round")


COLUMNS = [
    Column("Spread, ms", "few_spread", 1e3, 1, "ratio"),
    Column("Refused", "refused"),
    Column("%", "idle", 100, 2),
]
ROWS = [
    Row("floor", "cc 12", [sample(few_spread=0.001, refused=0), sample(few_spread=0.002, refused=0)], [0.001]),
    Row(
        "peer",
        "2.0",
        [sample(few_spread=0.003, refused=1), sample(few_spread=0.003, refused=5)],
        [0.01, 0.02, 0.04],
    ),
]


def test_a_table_has_a_row_for_each_server_and_the_ratios_behind_their_column() -> None:
    assert table(ROWS, COLUMNS, "floor", has_versions=True).splitlines() == [
        "| Server | Version | Spread, ms | ratio | Refused | % |",
        "| --- | --- | --- | --- | --- | --- |",
        "| floor | cc 12 | 1.5 (1.0–2.0) | 1.00 | 0 | 0.10 |",
        "| peer | 2.0 | 3.0 | 2.25 (1.50–3.00) | 3 (1–5) | 2.00 (1.00–4.00) |",
    ]


def test_a_table_without_versions_has_no_column_for_them() -> None:
    assert table(ROWS, COLUMNS[1:2], "floor", has_versions=False).splitlines() == [
        "| Server | Refused |",
        "| --- | --- |",
        "| floor | 0 |",
        "| peer | 3 (1–5) |",
    ]


def test_a_server_that_was_not_measured_has_the_reason_in_place_of_the_version() -> None:
    rows = [Row("gone", reason="there is no a|b"), Row("late", "2.0", reason="it didn't start")]

    assert table(rows, COLUMNS, "floor", has_versions=True).splitlines()[2:] == [
        r"| gone | not measured: there is no a\|b | – | – | – | – |",
        "| late | not measured: it didn't start | – | – | – | – |",
    ]


def test_a_server_with_figures_keeps_its_version_and_has_a_note_with_the_reason() -> None:
    rows = [Row("floor"), Row("one", reason="there is no go"), Row("two", "2.0", [sample()], reason="it didn't start")]

    assert "| two | 2.0 | 1,000.0 | – | 1 | – |" == table(rows, COLUMNS, "floor", has_versions=True).splitlines()[-1]
    assert "- two is not measured to the end: it didn't start." == notes(rows)


def test_without_the_floor_there_are_no_ratios() -> None:
    assert table([Row("peer", "2.0", [sample()])], COLUMNS, "floor", has_versions=True).splitlines()[2:] == [
        "| peer | 2.0 | 1,000.0 | – | 1 | – |",
    ]
