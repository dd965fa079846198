"""The findings of a tree, and the formats in which they are printed."""

import json
from collections.abc import Mapping

import pytest

from vortexd.core.model import Files, PropertySource, Tree
from vortexd.ctl.findings import FORMS, Finding, Report, as_github, as_gitlab, as_json, as_text, look_through
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.pipeline.state import overrides_of
from vortexd.resolve.formats import parse
from vortexd.settings.formats import FormatSettings

ENCRYPTOR = AesEncryptor("a password", "deadbeef")


def found(
    files: Mapping[str, bytes],
    *,
    decryptor: Decryptor | None = None,
    overrides: PropertySource | None = None,
    **labels: Mapping[str, bytes],
) -> Report:
    """Look through a tree with the label main, and others."""
    tree = Tree({name: Files(contents) for name, contents in {"main": files, **labels}.items()}, "main")
    return look_through(tree, FormatSettings(), decryptor, overrides, lambda path: f"config/{path}")


def places(report: Report) -> list[str]:
    return [each.place for each in report.findings]


# What is found.


def test_a_sound_tree_has_no_findings() -> None:
    report = found({"application.yml": b"a: 1\n", "shop.yml": b"b: 2\n", "shop-prod.json": b"{}", "notes.txt": b"a: ["})

    assert ((), 3, 3) == (tuple(report.findings), report.files, report.keys)


def test_an_empty_tree_has_one_key() -> None:
    assert Report([], 0, 1) == found({})


def test_a_broken_file_is_an_error_with_its_place() -> None:
    report = found({"b.yml": b"a: [1\n", "a.toml": b"a = 1\nb = \n", "c.json": b'{"a": 1, "a": 2}'})

    assert ["config/a.toml:2:5", "config/b.yml:1:4", "config/c.json:1:10"] == places(report)
    assert all(each.is_error for each in report.findings)
    assert "not YAML: did not find expected ',' or ']'" == report.findings[1].reason


def test_a_problem_behind_a_broken_file_is_found_in_the_same_run() -> None:
    files = {"application.yml": b"a: [1\n", "shop.yml": b"", "shop-prod.properties": b"spring.profiles.include=x\n"}

    assert ["config/application.yml:1:4", "config/shop-prod.properties"] == places(found(files))


def test_a_file_that_several_keys_read_is_reported_once() -> None:
    files = {f"{name}.yml": b"a: 1\n" for name in ("shop", "shop-prod", "billing", "billing-prod")}
    report = found({**files, "application-prod.yml": b"spring.profiles.include: x\n"})

    assert ["config/application-prod.yml"] == places(report)
    assert report.findings[0].is_error


def test_a_file_that_several_labels_have_is_reported_and_counted_once() -> None:
    files = {"shop.yml": b"a: [1\n"}
    report = found(files, next={**files, "more.yml": b"a: 1\n"})

    assert (["config/shop.yml:1:4"], 2) == (places(report), report.files)


def test_a_problem_without_a_file_names_the_key() -> None:
    report = found({"shop.yml": b"a: 1\n"}, overrides=overrides_of({"x[20000]": "1"}))

    reason = "a list index above 10000"
    assert [
        Finding("", 0, 0, f"{reason} (for application:default:main)"),
        Finding("", 0, 0, f"{reason} (for shop:default:main)"),
    ] == report.findings


def test_keys_without_files_of_their_own_are_resolved_for_each_label() -> None:
    report = found({}, next={}, overrides=overrides_of({"x[20000]": "1"}))

    assert 2 == report.keys
    assert ["application:default:main)", "application:default:next)"] == [
        each.reason.partition("(for ")[2] for each in report.findings
    ]


def test_findings_are_sorted_by_file_and_line() -> None:
    files = {"b.properties": "a=é\n".encode(), "a.yml": b"a: [1\n", "c.yml": b"x: ['\n"}

    assert places(found(files)) == sorted(places(found(files)))
    assert 3 == len(found(files).findings)


def test_files_are_parsed_by_the_given_function() -> None:
    parsed: list[str] = []

    def noted(path: str, content: bytes, limits: FormatSettings) -> tuple[object, ...]:
        parsed.append(path)
        return parse(path, content, limits)

    tree = Tree({"main": Files({"a.yml": b"a: {b: 1}\n"})}, "main")
    report = look_through(tree, FormatSettings(depth=1), None, None, str, noted)  # type: ignore[arg-type]  # it returns the documents as objects

    assert ["a.yml"] == parsed
    assert ["a.yml"] == [each.file for each in report.findings]


MARK = "the file begins with a UTF-8 byte order mark, which is read as three characters; save it without the mark"
MISREAD = (
    "the line is in UTF-8, but the server reads ISO-8859-1: each such character becomes several; "
    "write \\uXXXX for it, or use YAML"
)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.properties", b"a=1\n", []),
        ("a.properties", b"a=\x7f\n", []),
        ("a.properties", b"a=\x80\n", []),
        ("a.properties", "a=\u0080\n".encode(), [(1, 0, MISREAD)]),
        ("a.properties", "a=grüß\n".encode("iso-8859-1"), []),
        ("a.properties", "a=1\nb=2\nc=ü\n".encode(), [(3, 0, MISREAD)]),
        ("a.properties", "a=1\r\nb=2\rc=3\nd=é\n".encode(), [(4, 0, MISREAD)]),
        ("a.properties", "a=é\nb=é\n".encode(), [(1, 0, MISREAD)]),
        ("a.properties", b"a=\xe9\nb=\xc3\xa9\n", []),
        ("a.properties", b"\xef\xbb\xbfa=1\n", [(1, 1, MARK)]),
        ("a.properties", b"\xef\xbb\xbfa=1\nb=\xc3\xa9", [(1, 1, MARK), (2, 0, MISREAD)]),
        ("a.properties", b"a=\xef\xbb\xbf\n", [(1, 0, MISREAD)]),
        ("a.yml", "\ufeffa: é\n".encode(), []),
    ],
)
def test_properties_in_utf8_are_a_warning(name: str, content: bytes, expected: list[tuple[int, int, str]]) -> None:
    report = found({name: content})

    assert [Finding(f"config/{name}", *place, False) for place in expected] == report.findings
    assert (0, len(expected)) == (report.count(is_error=True), report.count(is_error=False))


def test_a_broken_file_is_not_misread_too() -> None:
    assert [True] == [each.is_error for each in found({"a.properties": "a=é\\u00\n".encode()}).findings]


def test_the_same_warning_of_two_labels_is_one() -> None:
    files = {"a.properties": "a=é\n".encode()}

    assert 1 == len(found(files, next=files).findings)


# Encrypted values.


def encrypted(password: str = "a password") -> str:
    return "{cipher}" + AesEncryptor(password, "deadbeef").encrypt("s3cret")


def test_encrypted_values_are_examined_only_with_a_key() -> None:
    files = {"a.yml": f"a: '{encrypted()}'\nb:\n  c: '{encrypted('another')}'\nd: [1, x]\n".encode()}

    assert [] == found(files).findings
    [finding] = found(files, decryptor=Decryptor(OneKey(ENCRYPTOR))).findings
    assert Finding("config/a.yml", 3, 6, "no configured encryption key decrypts b.c", False) == finding


def test_each_value_that_no_key_decrypts_is_found_however_many_there_are() -> None:
    lines = "".join(f"k{number:03}: '{{cipher}}x{number}'\n" for number in range(100))
    report = found({"a.yml": lines.encode()}, decryptor=Decryptor(OneKey(ENCRYPTOR)))

    assert [f"config/a.yml:{number}:7" for number in range(1, 101)] == places(report)


def test_equal_ciphertexts_under_several_keys_and_in_several_documents_are_all_found() -> None:
    bad = encrypted("another")
    files = {"a.yml": f"a: '{bad}'\nb: '{bad}'\n---\na: '{bad}'\n".encode(), "c.properties": f"a={bad}\n".encode()}
    report = found(files, decryptor=Decryptor(OneKey(ENCRYPTOR)))

    assert ["config/a.yml:1:4", "config/a.yml:2:4", "config/a.yml:4:4"] == places(report)[:3]
    assert ["config/c.properties"] == [each.file for each in report.findings[3:]]


# A finding and a report.


@pytest.mark.parametrize(
    ("line", "column", "place"), [(0, 0, "a.yml"), (3, 0, "a.yml:3"), (3, 5, "a.yml:3:5"), (0, 5, "a.yml:5")]
)
def test_a_place_is_as_exact_as_it_is_known(line: int, column: int, place: str) -> None:
    assert place == Finding("a.yml", line, column, "no").place


def test_errors_and_warnings_are_counted_apart() -> None:
    report = Report([Finding("a", 0, 0, "x"), Finding("b", 0, 0, "x", False), Finding("c", 0, 0, "x", False)], 3, 3)

    assert (1, 2) == (report.count(is_error=True), report.count(is_error=False))


# The formats.

REPORT = Report(
    [
        Finding("", 0, 0, "no file"),
        Finding("a,b:c%.yml", 3, 5, "bad\x1b[2J\n: 100%"),
        Finding("d.yml", 2, 0, "odd", False),
    ],
    7,
    9,
)


def test_the_names_of_the_formats_are_those_of_the_command_line() -> None:
    assert {"text": as_text, "json": as_json, "github": as_github, "gitlab": as_gitlab} == FORMS


def test_text_is_a_printable_line_for_each_finding() -> None:
    assert ["no file", "a,b:c%.yml:3:5: bad\\x1b[2J\\n: 100%", "d.yml:2: warning: odd"] == list(as_text(REPORT))
    assert [] == list(as_text(Report([], 0, 0)))


def test_json_is_one_object_with_null_for_what_is_unknown() -> None:
    [line] = as_json(REPORT)

    assert {
        "files": 7,
        "keys": 9,
        "errors": [
            {"file": None, "line": None, "column": None, "reason": "no file"},
            {"file": "a,b:c%.yml", "line": 3, "column": 5, "reason": "bad\x1b[2J\n: 100%"},
        ],
        "warnings": [{"file": "d.yml", "line": 2, "column": None, "reason": "odd"}],
    } == json.loads(line)


def test_github_has_a_workflow_command_for_each_finding() -> None:
    assert [
        "::error ::no file",
        "::error file=a%2Cb%3Ac%25.yml,line=3,col=5::bad\\x1b[2J\\n: 100%25",
        "::warning file=d.yml,line=2::odd",
    ] == list(as_github(REPORT))


def test_gitlab_has_one_report_with_a_fingerprint_for_each_finding() -> None:
    [line] = as_gitlab(REPORT)
    entries = json.loads(line)

    assert [
        ("no file", "critical", {"path": ".", "lines": {"begin": 1}}),
        ("bad\x1b[2J\n: 100%", "critical", {"path": "a,b:c%.yml", "lines": {"begin": 3}}),
        ("odd", "minor", {"path": "d.yml", "lines": {"begin": 2}}),
    ] == [(each["description"], each["severity"], each["location"]) for each in entries]
    assert {"vortexctl-check"} == {each["check_name"] for each in entries}
    assert 3 == len({each["fingerprint"] for each in entries})
    assert {32} == {len(each["fingerprint"]) for each in entries}
    assert list(as_gitlab(REPORT)) == [line]
    assert ["[]"] == list(as_gitlab(Report([], 0, 0)))


@pytest.mark.parametrize(
    "other",
    [Finding("d.yml", 2, 0, "even", False), Finding("d.yml", 3, 0, "odd", False), Finding("e.yml", 2, 0, "odd")],
)
def test_a_fingerprint_depends_on_the_place_and_the_reason(other: Finding) -> None:
    one, two = (json.loads(next(as_gitlab(Report([each], 1, 1))))[0] for each in (REPORT.findings[2], other))

    assert one["fingerprint"] != two["fingerprint"]
