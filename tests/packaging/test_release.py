"""packaging/release, which makes and tries a release, and the workflow that calls it. Only .ci/extended runs the whole script."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from vortexd import __version__

from .building import ROOT

SCRIPT = ROOT / "packaging/release"
EXTENDED = (ROOT / ".ci/extended").read_text()
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=main"]


def shell_scripts() -> list[Path]:
    candidates = [*(ROOT / ".ci").iterdir(), *(ROOT / "packaging").rglob("*")]
    files = [path for path in candidates if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in files if re.match(rb"#!.*sh\b", path.read_bytes()[:40]))


@pytest.mark.parametrize("script", shell_scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shell_script_is_well_formed(script: Path) -> None:
    shell = "bash" if b"bash" in script.read_bytes().partition(b"\n")[0] else "sh"

    subprocess.run([shell, "-n", script], check=True)
    assert re.search(r"^set -(?:euo pipefail|e)$", script.read_text(), re.MULTILINE)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


def test_the_changelog_has_a_section_of_the_version_with_its_date() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert "Unreleased" == sections[0]
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", sections[1])


def test_the_manifests_and_the_manual_name_the_version() -> None:
    texts = [path.read_text() for path in (ROOT / "packaging/kubernetes").rglob("*") if path.is_file()]
    texts += [(ROOT / "README.md").read_text(), (ROOT / "man/vortexd.8").read_text()]
    named = re.findall(r"(?:\bvortexd:|newTag: |dist/vortexd_)(\d+\.\d+\.\d+)", "\n".join(texts))

    assert len(named) > 6
    assert {__version__} == set(named)


def test_the_workflow_runs_the_checks_on_each_python() -> None:
    checks, release = WORKFLOW["jobs"]["checks"], WORKFLOW["jobs"]["release"]

    assert ["3.11", "3.12", "3.13"] == checks["strategy"]["matrix"]["python"]
    assert "bash .ci/run" == checks["steps"][-1]["run"]
    assert "checks" == release["needs"]
    assert any(step.get("run", "").startswith("packaging/release ") for step in release["steps"])
    assert {"contents": "read"} == WORKFLOW["permissions"]


def test_the_workflow_publishes_the_package_for_npm_only_from_a_checked_release_and_with_provenance() -> None:
    job = WORKFLOW["jobs"]["npm"]
    uses = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
    runs = [step["run"] for step in job["steps"] if "run" in step]

    assert "release" == job["needs"]
    assert "startsWith(github.ref, 'refs/tags/v') && vars.PUBLISH_NPM == 'true'" == job["if"]
    # The registry knows the workflow by this token. No other job may ask for one.
    assert {"contents": "read", "id-token": "write"} == job["permissions"]
    assert [] == [name for name, each in WORKFLOW["jobs"].items() if name != "npm" and "permissions" in each]
    # It builds nothing itself.
    assert "actions/checkout" not in uses
    assert [
        "sha256sum --check --strict SHA256SUMS",
        "npm publish --provenance --access public ./dist/release/vortexd-client-*.tgz",
    ] == runs


def test_the_release_has_the_package_for_npm() -> None:
    assert '"$copy/packaging/npm/build" "$out"' in SCRIPT.read_text()


def test_the_long_checks_make_a_release() -> None:
    assert re.search(r"^ +part release \d+ packaging/release\b", EXTENDED, re.MULTILINE)


def test_the_limits_of_the_long_checks_add_up_to_what_the_header_says() -> None:
    limits = [int(each) for each in re.findall(r'^ +(?:\w+\) )?part (?:\w+|"[^"]+") (\d+) ', EXTENDED, re.MULTILINE)]
    # .ci/run has one of the three Pythons.
    whole = sum(limits) + int(*re.findall(r'part "Python \$version" (\d+) ', EXTENDED))

    assert [f"{whole}"] == re.findall(r"ends within (\d+) minutes", EXTENDED)
    assert 10 == len(limits)
    assert whole <= 80


def test_the_check_of_the_container_makes_its_environment_before_the_image(tmp_path: Path) -> None:
    script = tmp_path / "packaging/container/check"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "packaging/container/check", script)
    programs = tmp_path / "bin"
    programs.mkdir()
    # python3 makes an environment whose pip fails, so the script ends there.
    stand_in = """#!/bin/sh
mkdir -p .venv/bin
printf '#!/bin/sh\\necho "$*" >&2; exit 9\\n' >.venv/bin/python
chmod +x .venv/bin/python
echo "$*" >&2
"""
    for name, text in {
        **dict.fromkeys(("buildah", "bwrap", "kubectl", "setpriv", "mktemp"), "#!/bin/sh\nexit 1\n"),
        "id": "#!/bin/sh\necho 0\n",
        "python3": stand_in,
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    first, second = (
        subprocess.run([script], env=environment, capture_output=True, text=True, check=False) for _ in range(2)
    )

    install = "-m pip install -q --disable-pip-version-check -e .[dev]\n"
    assert (9, f"-m venv .venv\n{install}") == (first.returncode, first.stderr)
    # An environment that is there is kept.
    assert (9, install) == (second.returncode, second.stderr)


def repository(directory: Path, changelog: str) -> Path:
    """A commit with what the script reads before it builds."""
    for name in ("packaging", "vortexd"):
        (directory / name).mkdir(parents=True)
    shutil.copy(SCRIPT, directory / "packaging")
    shutil.copy(ROOT / "pyproject.toml", directory)
    (directory / "vortexd/__init__.py").write_text('__version__ = "1.2.3"\n')
    (directory / "CHANGELOG.md").write_text(changelog)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*GIT, *command], cwd=directory, check=True)
    return directory


def run(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # A directory in place of Python ends the script before it could download anything.
    environment = {**os.environ, "PYTHON": "/"}
    command = [directory / "packaging/release", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("section", ["## Unreleased", "## 1.2.3", "## 1x2.3 - 2026-01-02", "## 1.2.3 - soon"])
def test_a_version_without_a_section_in_the_changelog_is_no_release(section: str, tmp_path: Path) -> None:
    ended = run(repository(tmp_path / "it", f"# Changelog\n\n{section}\n"))

    assert (1, "release: error: CHANGELOG.md has no section '## 1.2.3 - DATE'\n") == (ended.returncode, ended.stderr)


def test_it_warns_of_a_placeholder_and_of_uncommitted_changes(tmp_path: Path) -> None:
    # git hasn't written all of a long changelog when its section is found.
    directory = repository(tmp_path / "it", "## 1.2.3 - 2026-01-02\n" + "- A line.\n" * 100_000)
    clean = run(directory).stdout
    project = directory / "pyproject.toml"
    project.write_text(re.sub('repository = ".*"', 'repository = "https://host.test/it"', project.read_text()))
    changed = run(directory).stdout
    subprocess.run([*GIT, "commit", "-q", "-a", "-m", "b"], cwd=directory, check=True)

    assert "is a placeholder" in clean
    assert "aren't committed" not in clean
    assert "changes that aren't committed are left out" in changed
    assert "" == run(directory).stdout


def test_it_replaces_no_directory_of_others(tmp_path: Path) -> None:
    directory = repository(tmp_path / "it", "## 1.2.3 - 2026-01-02\n")
    target = tmp_path / "mine"
    target.mkdir()
    (target / "precious").touch()
    ended = run(directory, target)

    assert (1, f"release: error: {target} isn't empty, and has no SHA256SUMS\n") == (ended.returncode, ended.stderr)
    assert ["precious"] == [each.name for each in target.iterdir()]


def test_two_sdists_of_the_same_files_become_equal(tmp_path: Path) -> None:
    made = []
    for time, names in ((1, ["b", "a"]), (2, ["a", "b"])):
        sdist = tmp_path / str(time) / "it.tar.gz"
        sdist.parent.mkdir()
        with tarfile.open(sdist, "w:gz") as archive:
            for name in names:
                file = sdist.with_name(name)
                file.write_text(f"content of {name}")
                os.utime(file, (time, time))
                archive.add(file, f"it/{name}")
        target = tmp_path / f"out{time}"
        target.mkdir()
        command: list[str | Path] = [sys.executable, ROOT / "packaging/normal_sdist.py", sdist, target]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1000000000"})
        made.append((target / "it.tar.gz").read_bytes())

    assert made[0] == made[1]
    with tarfile.open(tmp_path / "out1/it.tar.gz") as archive:
        assert [("it/a", 1_000_000_000, "", 0), ("it/b", 1_000_000_000, "", 0)] == [
            (each.name, each.mtime, each.uname, each.uid) for each in archive.getmembers()
        ]
        member = archive.extractfile("it/a")
        assert member
        assert b"content of a" == member.read()
