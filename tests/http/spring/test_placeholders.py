"""Placeholders are resolved as in Spring, within bounds."""

import pytest

from vortexd.core.model import PropertySource, Scalar
from vortexd.http.spring import placeholders
from vortexd.http.spring.placeholders import MAX_DEPTH, Placeholders, Unresolvable


def resolver(**values: Scalar) -> Placeholders:
    named = {name.replace("_", "."): value for name, value in values.items()}
    return Placeholders([PropertySource("high", named, {}), PropertySource("low", {"host": "low", "only": "low"}, {})])


VALUES: dict[str, Scalar] = {
    "host": "example.org",
    "port": 8080,
    "rate": 1e10,
    "on": True,
    "empty": "",
    "name": "host",
    "url": "http://${host}:${port}",
    "a:b": "both",
    "raw": "\\${host}",
    "json": '{"a": "${host}"}',
}


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("no placeholder", "no placeholder"),
        ("${host}", "example.org"),
        ("a ${host} b ${port} c", "a example.org b 8080 c"),
        ("${rate} ${on} ${empty}!", "1.0E10 true !"),
        ("${only}", "low"),
        ("${missing}", "${missing}"),
        ("${missing:default}", "default"),
        ("${missing:}", ""),
        ("${missing:http://x:1/}", "http://x:1/"),
        ("${host:default}", "example.org"),
        ("${url}", "http://example.org:8080"),
        ("${missing:${url}}", "http://example.org:8080"),
        ("${missing:a${host}b}", "aexample.orgb"),
        ("${missing:${also}}", "${also}"),
        ("${${name}}", "example.org"),
        ("${${missing}}", "${${missing}}"),
        ("${${missing:name}:default}", "host"),
        ("${a:b}", "both"),
        ("${a\\:b}", "both"),
        ("\\${host}", "${host}"),
        ("\\\\${host}", "${host}"),
        ("${raw}", "${host}"),
        ("${host", "${host"),
        ("host}", "host}"),
        ("${}", "${}"),
        ("{${host}}", "{example.org}"),
        ("${missing:{x}}", "{x}"),
        ("${json}", '{"a": "example.org"}'),
        ("${host}\n${port}", "example.org\n8080"),
    ],
)
def test_a_text_is_resolved_as_spring_does(text: str, resolved: str) -> None:
    assert resolved == resolver(**VALUES).in_text(text)


def test_blanks_around_a_key_count_in_a_text_and_not_in_a_value() -> None:
    assert "${ host }" == resolver(**VALUES).in_text("${ host }")
    assert "example.org" == resolver(**VALUES).in_value("${ host }")


def test_Y12_a_circle_is_the_clients_to_hear_of() -> None:
    with pytest.raises(Unresolvable, match="circle") as caught:
        resolver(a="${b}", b="${c:x}", c="${a}").in_text("${a}")

    assert 400 == caught.value.status


def test_Y12_a_key_may_come_again_where_it_is_no_circle() -> None:
    assert "x x x" == resolver(a="${b} ${b}", b="x").in_text("${a} ${b}")


def test_Y12_what_nests_too_deep_is_refused() -> None:
    deep = "${" * (MAX_DEPTH + 1) + "x" + "}" * (MAX_DEPTH + 1)
    chain = {f"k{number}": f"${{k{number + 1}}}" for number in range(MAX_DEPTH + 1)}

    for text in (deep, "${k0}"):
        with pytest.raises(Unresolvable, match="deeper"):
            resolver(**chain).in_text(text)
    assert deep[2:-1] == "${" * MAX_DEPTH + "x" + "}" * MAX_DEPTH
    assert deep[2:-1] == resolver().in_text(deep[2:-1])


def test_Y12_what_doubles_at_each_step_ends_before_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "MAX_STEPS", 1_000)
    doubling = {f"k{number}": f"${{k{number + 1}}}${{k{number + 1}}}" for number in range(20)} | {"k20": "x"}

    with pytest.raises(Unresolvable, match="too much"):
        resolver(**doubling).in_text("${k0}")


def test_Y12_what_is_found_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "MAX_FOUND", 1_000)
    resolving = resolver(big="x" * 400)

    assert "x" * 800 == resolving.in_text("${big}${big}")
    with pytest.raises(Unresolvable, match="too much"):
        resolving.in_text("${big}")


def test_Y12_nothing_but_what_is_served_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")

    for text in ("${SECRET}", "${env:SECRET}", "${env.SECRET}", "${systemProperties.x}"):
        assert "hunter2" not in resolver().in_text(text)


def test_Y12_braces_that_are_never_closed_cost_no_more_than_their_length() -> None:
    text = "${" * 200_000

    assert text == resolver().in_text(text)


def test_Y12_what_stands_for_nothing_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placeholders, "MAX_STEPS", 4_000)

    assert "x" * 200 == resolver().in_text("${none:x}" * 200)
    with pytest.raises(Unresolvable):
        resolver().in_text("${none:x}" * 2_000)


@pytest.mark.parametrize("value", ["${" * 200_000, "${}" * 200_000, "}${" * 200_000])
def test_Y12_a_value_costs_no_more_than_its_length(value: str) -> None:
    assert value == resolver().in_value(value)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        # A lookup is four steps, a `${` and a colon are one each, and so are four braces, if not fewer.
        ("${x}", 4 + 1),
        ("${x}" * 2, 2 * 5 + 1),
        ("${none}", 4 + 1),
        ("${none:y}", 2 * 4 + 1 + 1),
        ("${a\\:b\\:c}", 4 + 4 + 1 + 2),
        ("${${x}}", 2 * 4 + 2 + 1),
        ("${" * 7, 7 + 1),
        ("${x}" + "{}" * 20, 4 + 1 + 10),
        ("${x}" + "{" * 42, 4 + 1 + 11),
        ("${outer}", 4 + 1 + 4 + 2),
        ("\\${x}" * 3, 1),
    ],
)
def test_Y12_every_step_is_counted(monkeypatch: pytest.MonkeyPatch, text: str, steps: int) -> None:
    values = {"x": "1", "outer": "${y}${", "y": "2"}
    monkeypatch.setattr(placeholders, "MAX_STEPS", steps)
    resolver(**values).in_text(text)
    monkeypatch.setattr(placeholders, "MAX_STEPS", steps - 1)
    with pytest.raises(Unresolvable, match="too much"):
        resolver(**values).in_text(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${x}", 1_000),
        ("${x}${x}", 2_000),
        ("${none}", 4),
        ("${none" + "e" * 996 + "}", 1_000),
        ("${${x}}", 2_000),
        # What a value is, and what is written for it.
        ("${outer}", 4 + 1_000 + 1_000),
        ("${unresolved}", 7 + 4 + 7),
        ("${none:default}", 0),
    ],
)
def test_Y12_what_is_written_is_counted_whether_it_stands_for_something_or_not(
    monkeypatch: pytest.MonkeyPatch, text: str, found: int
) -> None:
    values = {"x": "x" * 1_000, "outer": "${x}", "unresolved": "${none}"}
    monkeypatch.setattr(placeholders, "MAX_FOUND", found)
    resolver(**values).in_text(text)
    monkeypatch.setattr(placeholders, "MAX_FOUND", found - 1)
    with pytest.raises(Unresolvable, match="too much"):
        resolver(**values).in_text(text)


@pytest.mark.parametrize(
    "unit", ["${", "{}", "\\${a}", "${" + "\\:" * 50 + "}", "${" + "{}" * 50 + "}", "${" + ":" * 100 + "}"]
)
def test_Y12_a_large_value_that_is_used_ten_times_is_refused_or_costs_little(unit: str) -> None:
    big = "${a}" + unit * (1_048_000 // len(unit))
    resolving = resolver(big=big)
    with pytest.raises(Unresolvable, match="too much"):
        resolving.in_value("${big}" * 10)
    assert resolving._steps < placeholders.MAX_STEPS + 600_000
