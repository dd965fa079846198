"""`vortexctl check` with the server's gate: the same key, rule, file and line as the server names."""

import json
from pathlib import Path

import pytest

from tests.ctl.test_check import check, directory

SCHEMA = '{"properties": {"port": {"type": "integer"}}, "required": ["name"]}'
SOURCE = '[[source]]\npath = "."\n'


def settings(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "s.json").write_text(SCHEMA)
    (path / "vortexd.toml").write_text(SOURCE + text)
    return path / "vortexd.toml"


def test_what_the_gate_would_refuse_is_an_error_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path / "etc", '[[gate]]\napplications = ["billing"]\nschemas = ["s.json"]\n')
    tree = directory(
        tmp_path / "tree",
        {"billing.yml": "name: x\nport: hunter2\n", "billing-prod.yml": "port: 1\n", "shop.yml": "port: x\n"},
    )
    status, lines, summary = check(capsys, tree, "--config", config)

    assert [f"{tree}/billing.yml:2: refused by the gate: type of s.json at /port (for billing:default:main)"] == lines
    assert 1 == status
    assert " 1 errors, 0 warnings" in summary
    assert "hunter2" not in "".join((*lines, summary))
    assert (0, []) == check(capsys, tree)[:2]


def test_the_schemas_of_the_tree_itself_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path / "etc", "[[gate]]\nsource_schemas = true\n")
    tree = directory(tmp_path / "tree", {"shop.yml": "name: x\nport: x\n", "shop.schema.json": SCHEMA})
    assert [
        f"{tree}/shop.yml:2: refused by the gate: type of shop.schema.json at /port (for shop:default:main)"
    ] == check(capsys, tree, "--config", config)[1]
    (tree / "shop.schema.json").write_text('{\n"type": "strin"}')

    assert [
        f"{tree}/shop.schema.json:2: refused by the gate: shop.schema.json can't be used: there is no such type (for shop:default:main)"
    ] == check(capsys, tree, "--config", config)[1]


def test_keys_that_cannot_be_resolved_are_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path / "etc", '[[gate]]\nschemas = ["s.json"]\n')
    tree = directory(tmp_path / "tree", {"shop.yml": "name: [x\n", "billing.yml": "name: x\n"})
    status, lines, _ = check(capsys, tree, "--config", config)

    assert (1, 1) == (status, len(lines))
    assert "not YAML" in lines[0]


def test_a_command_judges_too_and_one_that_cannot_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path / "etc", '[[gate]]\ncommand = ["false"]\n')
    tree = directory(tmp_path / "tree", {"shop.yml": "name: x\n"})
    text = "refused by the gate: command of false at the top of the document (for shop:default:main)"
    assert [f"{text}"] == check(capsys, tree, "--config", config)[1]
    (tmp_path / "etc" / "vortexd.toml").write_text(SOURCE + '[[gate]]\ncommand = ["/nowhere/judge"]\n')

    text = "the gate can't start the command judge: no such file or directory (for main)"
    assert [text] == check(capsys, tree, "--config", config)[1]


def test_findings_beyond_the_bound_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path / "etc", '[[gate]]\nschemas = ["s.json"]\n')
    tree = directory(tmp_path / "tree", {f"a{number}.yml": "port: 1\n" for number in range(23)})
    _, lines, _ = check(capsys, tree, "--config", config, "--format", "json")

    errors = json.loads(lines[0])["errors"]
    assert 21 == len(errors)
    assert "refused by the gate: 3 more findings (for main)" in [each["reason"] for each in errors]


def test_a_schema_of_the_settings_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path / "etc", '[[gate]]\nschemas = ["s.json"]\n')
    (tmp_path / "etc" / "s.json").write_text("{\n!")
    status, _, errors = check(capsys, directory(tmp_path / "tree", {"a.yml": "a: 1\n"}), "--config", config)

    assert 2 == status
    assert "s.json:2: not JSON" in errors
