"""CONTRIBUTING.md, SECURITY.md and the pre-commit hooks name only existing files, names of the code, and checks of .ci/run."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


@pytest.mark.parametrize("text", [CONTRIBUTING, SECURITY], ids=["CONTRIBUTING.md", "SECURITY.md"])
def test_each_path_and_link_leads_to_a_file(text: str) -> None:
    paths = {*re.findall(r"`((?:vortexd|tests|conf|man|packaging|\.ci)/[\w./-]+|\w+\.(?:md|toml))`", text)}
    links = {*re.findall(r"\]\(([^):]+)\)", text)}

    assert paths | links
    assert [] == sorted(path for path in paths | links if not (ROOT / path).exists())


def test_each_name_is_in_the_module_that_it_names() -> None:
    named = re.findall(r"`(\w+)`\s+(?:in|of)\s+`(vortexd/[\w/.]+)`", CONTRIBUTING)

    assert {"Source", "Endpoint"} <= {name for name, _ in named}
    for name, where in named:
        assert re.search(rf"^(?:class {name}\b|{name}: )", (ROOT / where).read_text(), re.MULTILINE), name


def test_the_hooks_are_the_checks_of_format_lint_and_types_in_ci() -> None:
    [repository] = HOOKS
    checks = re.findall(r"^\.venv/bin/(?:ruff|mypy) .*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)

    assert "local" == repository["repo"]
    assert 3 == len(checks)
    assert checks == [hook["entry"] for hook in repository["hooks"]]
    assert {("system", False)} == {(hook["language"], hook["pass_filenames"]) for hook in repository["hooks"]}


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("vortexd/a.py", True),
        ("a.pyi", True),
        ("pyproject.toml", True),
        ("conf/pyproject.toml", False),
        ("a.md", False),
    ],
)
def test_the_hooks_run_when_python_or_its_settings_change(path: str, runs: bool) -> None:
    for hook in HOOKS[0]["hooks"]:
        assert runs == bool(re.search(hook["files"], path))


def test_each_module_has_a_test_file_of_its_own() -> None:
    modules = [path.relative_to(ROOT / "vortexd") for path in (ROOT / "vortexd").rglob("*.py")]
    tested = [path for path in modules if path.stem != "__init__" and path.parts[0] not in ("data", "example")]

    assert len(tested) > 200
    assert [] == [str(path) for path in tested if not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()]
