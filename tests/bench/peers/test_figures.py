import attrs
import pytest

from .figures import Column, Row, Sample, absent, ratios, summary, table, windows


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


def test_each_ratio_compares_the_spreads_of_one_round() -> None:
    samples = [sample(spread=3.0), sample(spread=8.0)]
    floor = [sample(spread=2.0), sample(spread=1.0)]

    assert [1.5, 8.0] == ratios(samples, floor)


def test_a_round_that_the_floor_or_the_server_lacks_has_no_ratio() -> None:
    assert [1.0] == ratios([sample()], [sample(), sample()])
    assert [1.0] == ratios([sample(), sample()], [sample()])
    assert [] == ratios([sample()], [])


def test_windows_overlap_by_half() -> None:
    assert [3 / 30, 5 / 30] == windows([10.0, 11.0, 13.0, 16.0], 30.0)


def test_fewer_than_three_readings_make_no_window() -> None:
    assert [] == windows([1.0, 2.0], 30.0)


COLUMNS = [Column("Spread, ms", "spread", 1e3, 1), Column("Refused", "refused")]


def test_the_table_has_a_row_for_each_measured_server_and_the_ratio_behind_the_spread() -> None:
    rows = [
        Row("floor", "cc 12", [sample(spread=0.001, refused=0), sample(spread=0.002, refused=0)], [0.001]),
        Row("peer", "2.0", [sample(spread=0.003, refused=1), sample(spread=0.003, refused=5)], [0.01, 0.02, 0.04]),
        Row("gone", reason="there is no go"),
    ]

    assert table(rows, COLUMNS, "floor", "ratio", "idle, %").splitlines() == [
        "| Server | Version | Spread, ms | ratio | Refused | idle, % |",
        "| --- | --- | --- | --- | --- | --- |",
        "| floor | cc 12 | 1.5 (1.0–2.0) | 1.00 | 0 | 0.10 |",
        "| peer | 2.0 | 3.0 | 2.25 (1.50–3.00) | 3 (1–5) | 2.00 (1.00–4.00) |",
    ]


def test_without_the_floor_and_heartbeats_there_are_dashes() -> None:
    assert table([Row("peer", "2.0", [sample()])], COLUMNS, "floor", "ratio", "idle, %").splitlines()[2:] == [
        "| peer | 2.0 | 1,000.0 | – | 1 | – |",
    ]


def test_each_server_with_a_reason_is_named() -> None:
    rows = [Row("floor"), Row("one", reason="there is no go"), Row("two", samples=[sample()], reason="it didn't start")]

    assert absent(rows).splitlines() == [
        "- one is not measured, or not in all rounds: there is no go.",
        "- two is not measured, or not in all rounds: it didn't start.",
    ]
