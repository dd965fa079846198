"""`vortexctl check`: it reports at once everything that the server would refuse of a directory, a working tree or a push."""

import errno
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import Repository
from vortexd.aio.isolated import Died, Isolated
from vortexd.core.model import Tree
from vortexd.ctl import batches, cli
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.resolve.formats import Parse
from vortexd.settings.formats import FormatSettings

BROKEN = {
    "application.yml": "a: 1\n",
    "shop.yml": "a: [1\n",
    "shop-prod.properties": "a=1\nspring.profiles.include=x\n",
    "q.properties": "x[20000]=1\n",
    "odd.json": '{"a": 1, "a": 2}',
    "deep.toml": "a = 1\nb = \n",
    "notes.txt": "a: [1\n",
}
FOUND = [
    ("deep.toml", "not TOML"),
    ("odd.json:1:10", "duplicate key"),
    ("q.properties:1:10", "a list index above 10000"),
    ("shop-prod.properties", "spring.profiles.include can't be in a file or document that is itself for a profile"),
    ("shop.yml:1:4", "not YAML: did not find expected"),
]


def directory(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    status = cli.main(["check", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


def test_the_example_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "conf" / "example"

    status, lines, summary = check(capsys, example)
    assert (0, []) == (status, lines)
    assert " 0 errors, 0 warnings" in summary


def test_all_errors_are_told_at_once_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, summary = check(capsys, directory(tmp_path, BROKEN))

    assert (1, len(FOUND)) == (status, len(lines))
    for line, (place, reason) in zip(lines, FOUND, strict=True):
        assert line.startswith(f"{tmp_path}/{place}")
        assert reason in line
    assert "vortexctl: 6 files, 6 keys: 5 errors, 0 warnings\n" == summary


def test_files_of_a_large_tree_are_parsed_in_processes_with_the_same_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = check(capsys, directory(tmp_path, BROKEN))
    asked: list[object] = []

    def parsed_in_processes(tree: Tree, limits: FormatSettings, parse_file: Parse) -> Parse:
        asked.append(limits)
        return batches.parsed_in_processes(tree, limits, parse_file, processes=2, many_bytes=0)

    monkeypatch.setattr("vortexd.ctl.check.parsed_in_processes", parsed_in_processes)
    assert expected == check(capsys, tmp_path)
    assert [FormatSettings()] == asked


def test_garbage_is_collected_again_after_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(capsys, directory(tmp_path, BROKEN))

    assert gc.isenabled()


def test_paths_are_those_from_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory(tmp_path / "config", {"shop.yml": "a: [1\n"})
    monkeypatch.chdir(tmp_path)
    assert check(capsys, "config")[1][0].startswith("config/shop.yml:1:4: ")
    monkeypatch.chdir(tmp_path / "config")
    assert check(capsys, ".")[1][0].startswith("shop.yml:1:4: ")


def test_no_value_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = check(capsys, directory(tmp_path, {"a.yml": "password: [s3cret\n", "b.json": '{"p": "s3cret" x}'}))

    assert 2 == len(lines)
    assert "s3cret" not in "".join(lines)


def test_each_form_has_places_and_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory(tmp_path, {"a,b.yml": "a: [1\n"}))

    _, lines, _ = check(capsys, ".", "--format", "github")
    assert ["::error file=a%2Cb.yml,line=1,col=4::not YAML: did not find expected ',' or ']'"] == lines
    _, (line,), _ = check(capsys, ".", "--format", "json")
    reason = "not YAML: did not find expected ',' or ']'"
    assert {
        "files": 1,
        "keys": 2,
        "errors": [{"file": "a,b.yml", "line": 1, "column": 4, "reason": reason}],
        "warnings": [],
    } == json.loads(line)
    _, (line,), _ = check(capsys, ".", "--format", "gitlab")
    (entry,) = json.loads(line)
    assert (reason, "critical", {"path": "a,b.yml", "lines": {"begin": 1}}) == (
        entry["description"],
        entry["severity"],
        entry["location"],
    )


def test_a_file_of_all_labels_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"application.yml": "a: [1\n", "one/shop.yml": "a: 1\n", "two/shop.yml": "a: [1\n", "not a label/x.yml": ""}
    status, lines, _ = check(capsys, directory(tmp_path, files), "--label-directories")

    assert 1 == status
    assert [f"{tmp_path}/application.yml:1:4", f"{tmp_path}/not a label", f"{tmp_path}/two/shop.yml:1:4"] == [
        line.partition(": ")[0] for line in lines
    ]
    assert "warning: the server doesn't serve it: its name can't be a label" in lines[1]


def test_a_directory_beyond_the_limits_of_the_settings_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "vortexd.toml"
    config.write_text('[[source]]\npath = "x"\nfiles = 1\n[formats]\ndepth = 1\n')
    source = directory(tmp_path / "config", {"a.yml": "a: 1\n", "b.yml": "a: 1\n"})

    status, lines, _ = check(capsys, source, "--config", config)
    assert (1, [f"{source} holds more than 1 files; raise source.files to allow this"]) == (status, lines)
    (source / "a.yml").unlink()
    (source / "b.yml").write_text("a: {b: {c: 1}}\n")
    status, lines, _ = check(capsys, source, "--config", config)
    assert 1 == status
    assert "nested deeper than 1 levels" in lines[0]


def test_encrypted_values_are_looked_into_with_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key"
    key.write_text("a password\n")
    key.chmod(0o600)
    good, bad = (AesEncryptor(password, "deadbeef").encrypt("s") for password in ("a password", "another"))
    source = directory(
        tmp_path / "config",
        {
            "a.yml": f"a: '{{cipher}}{good}'\nb: '{{cipher}}{bad}'\n"
            + "".join(f"c{n}: '{{cipher}}x{n}'\n" for n in range(70))
        },
    )

    assert (0, []) == check(capsys, source)[:2]
    status, lines, _ = check(capsys, source, "--key-file", key)
    assert (0, 71, f"{source}/a.yml:2:4: warning: no configured encryption key decrypts b") == (
        status,
        len(lines),
        lines[0],
    )
    assert 1 == check(capsys, source, "--key-file", key, "--strict")[0]
    key.chmod(0o644)
    status, _, told = check(capsys, source, "--key-file", key)
    assert 2 == status
    assert "is open to other users; run chmod 600 on it" in told


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_a_ref_is_read_without_a_working_tree(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"shop.yml": "a: [1\n", "link.yml": "shop.yml", "lost.yml": "/etc/passwd"}
    first = repository.commit(files, modes={"link.yml": "120000", "lost.yml": "120000"})
    repository.commit({"shop.yml": "a: 1\n", "lost.yml": None})
    repository.git("tag", "v1", first)

    for ref in ("v1", "refs/tags/v1", first, "main~1"):
        status, lines, _ = check(capsys, repository.path, "--ref", ref)
        assert 1 == status
        assert ["link.yml:1:4", "lost.yml", "shop.yml:1:4"] == [line.partition(": ")[0] for line in lines]
        assert "lost.yml: warning: the server doesn't serve it: it leads out of the repository" == lines[1]
    assert 0 == check(capsys, repository.path)[0]


def test_a_working_tree_is_read_as_it_is_and_as_git_will_have_it(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"prod/shop.yml": "a: 1\n", "other/x.yml": "a: 1\n"})
    tree = tmp_path / "tree"
    repository.git("clone", "--quiet", str(repository.path), str(tree))
    monkeypatch.chdir(tree)
    assert 0 == check(capsys, ".", "--search-path", "{label}", "--label", "prod")[0]

    directory(tree, {"prod/new.yml": "a: [1\n", "secret.txt": ""})
    (tree / "shared").symlink_to("prod")
    for name, target in {
        "good": "shop.yml",
        "bad": "new.yml",
        "through": "../shared/new.yml",
        "outside": str(tree / "prod/shop.yml"),
        "up": "../../x",
    }.items():
        (tree / f"prod/{name}.yml").symlink_to(target)
    (tree / "prod/.hidden.yml").symlink_to("nowhere")
    (tree / ".hidden").mkdir()
    (tree / ".hidden/x.yml").symlink_to("nowhere")
    status, lines, _ = check(capsys, ".", "--search-path", "{label}", "--label", "prod")
    assert 1 == status
    assert ["prod/bad.yml:1:4", "prod/new.yml:1:4", "prod/through.yml:1:4"] == sorted(
        line.partition(": ")[0] for line in lines if "warning" not in line
    )
    warnings = [line for line in lines if "warning" in line]
    assert [
        "prod/outside.yml: warning: the server doesn't serve it: it leads out of the repository",
        "prod/up.yml: warning: the server doesn't serve it: it leads out of the repository",
        "shared: warning: the server doesn't serve it: it leads to a directory",
    ] == warnings
    assert 0 == check(capsys, ".", "--ref", "HEAD")[0]
    repository.git("-C", str(tree), "worktree", "add", "--quiet", str(tmp_path / "linked"))
    assert 0 == check(capsys, tmp_path / "linked", "--ref", "linked")[0]


def test_a_ref_with_more_than_the_limits_is_1(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vortexd.toml"
    config.write_text('[[source]]\nkind = "git"\nuri = "https://git.example/x.git"\nfiles = 1\n')
    repository.commit({"a.yml": "a: 1\n", "b.yml": "a: 1\n"})

    status, lines, _ = check(capsys, repository.path, "--config", config)
    assert (1, ["it holds more than 1 files; raise source.files to allow this"]) == (status, lines)


HOOK = """#!/bin/sh
while read old new ref; do
    {python} -c 'import sys; from vortexd.ctl.cli import main; sys.exit(main())' check . --ref "$new" || exit 1
done
"""


def test_a_hook_refuses_a_push_before_it_is_taken(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"shop.yml": "a: 1\n"})
    hook = repository.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable))
    hook.chmod(0o755)
    other = Repository(tmp_path / "other")
    other.git("fetch", "--quiet", str(repository.path), "main:main")
    before = repository.git("rev-parse", "main")

    other.commit({"shop.yml": "a: [1\n"})
    with pytest.raises(subprocess.CalledProcessError) as caught:
        other.git("push", "--quiet", str(repository.path), "main")
    assert b"remote: shop.yml:1:4: not YAML" in caught.value.stderr
    assert before == repository.git("rev-parse", "main")
    fixed = other.commit({"shop.yml": "a: 2\n"})
    other.git("push", "--quiet", str(repository.path), "main")
    assert fixed == repository.git("rev-parse", "main").strip()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "there is no directory nowhere"),
        ([".", "--ref", "main"], "isn't a git repository, which --ref requires"),
        (["repository", "--ref", "nothing"], "nothing isn't a branch, tag or commit of"),
        (["repository", "--ref", "--output=x"], "expected one argument"),
        (["repository", "--label-directories"], "labels of a repository are its branches and tags"),
        ([".", "--config", "none.toml"], "none.toml: can't be read"),
        ([".", "--key-file", "none"], "none: can't be read"),
        ([".", "--format", "xml"], "invalid choice"),
    ],
)
def test_what_cannot_be_checked_is_2(
    arguments: list[str],
    told: str,
    repository: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    repository.commit({"a.yml": ""})
    try:
        status = cli.main(["check", *arguments])
    except SystemExit as caught:
        status = int(caught.code or 0)

    printed = capsys.readouterr()
    assert (2, "") == (status, printed.out)
    assert told in printed.err


# Nothing to check.

NOTHING = "no file that the server reads ends in .properties, .yml, .yaml, .json, .toml"


def test_a_directory_without_configuration_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = directory(tmp_path / "config", {"README.md": "", ".hidden/a.yml": "a: 1"})

    warning = f"{source}: warning: there is no configuration here: {NOTHING}"
    assert (0, [warning], "vortexctl: 0 files, 1 keys: 0 errors, 1 warnings\n") == check(capsys, source)
    assert 1 == check(capsys, source, "--strict")[0]
    assert (0, [warning]) == check(capsys, source, "--label-directories")[:2]


def test_a_ref_without_configuration_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit({"README.md": ""})

    status, lines, _ = check(capsys, repository.path, "--ref", "main")
    assert (0, [f"{repository.path}: warning: there is no configuration here in main: {NOTHING}"]) == (status, lines)


def test_broken_configuration_is_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = check(capsys, directory(tmp_path, {"a.yml": "a: ["}))

    assert 1 == len(lines)
    assert "there is no configuration" not in lines[0]


MARK, MISREAD = "the file begins with a UTF-8 byte order mark", "the line is in UTF-8, but the server reads ISO-8859-1"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.properties", b"a=1\n", []),
        ("a.properties", "a=gr\\u00fc\u00df\n".encode("iso-8859-1"), []),
        ("a.properties", "# gr\u00fc\u00df\n".encode(), [(":1", MISREAD)]),
        ("a.properties", "a=1\r\nb=2\rc=3\nd=\U0001f600\ne=\u00e9".encode(), [(":4", MISREAD)]),
        ("a.properties", b"\xef\xbb\xbfa=1\n", [(":1:1", MARK)]),
        ("a.properties", "\ufeffa=1\nb=\u00e9\n".encode(), [(":1:1", MARK), (":2", MISREAD)]),
        ("a.properties", b"a=\xe9\nb=\xc3\xa9\n", []),
        ("a.yml", "\ufeffa: \u00e9\n".encode(), []),
    ],
)
def test_properties_in_utf8_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / name).write_bytes(content)
    status, lines, _ = check(capsys, tmp_path)

    assert (0, len(expected)) == (status, len(lines))
    for line, (place, reason) in zip(lines, expected, strict=True):
        assert line.startswith(f"{tmp_path}/{name}{place}: warning: {reason}")
    assert int(bool(expected)) == check(capsys, tmp_path, "--strict")[0]


def test_broken_properties_are_told_as_broken_and_not_of_their_encoding_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.properties").write_bytes("a=\u00e9\\u00\n".encode())

    assert 1 == len(check(capsys, tmp_path)[1])


def test_large_files_are_parsed_within_the_bounds_of_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vortexd.toml"
    config.write_text("[formats]\nnodes = 10_000_000\nmemory_bytes = 67_108_864\n")
    source = directory(tmp_path / "config", {"a.toml": "".join(f"[k{n}{'.a' * 60}]\n" for n in range(3_000))})

    status, lines, _ = check(capsys, source, "--config", config)
    assert (1, [f"{source}/a.toml: parsing it takes more than 67108864 bytes of memory"]) == (status, lines)


def test_without_a_process_to_spare_they_are_parsed_all_the_same_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", fail)
    status, lines, told = check(capsys, directory(tmp_path, {"a.yml": "a: 1" + "\n" * 300_000}))

    assert (0, []) == (status, lines)
    reason = "can't start a process: Resource temporarily unavailable"
    assert f"vortexctl: warning: a.yml is parsed without a limit on memory and time: {reason}\n" in told


def test_processes_that_die_are_told_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Died("fails unexpectedly: its process was killed by signal 9")

    monkeypatch.setattr(Isolated, "ask", die)
    status, lines, told = check(capsys, directory(tmp_path, {"a.yml": "a: 1" + "\n" * 300_000}))

    assert (0, []) == (status, lines)
    reason = "parsing it fails unexpectedly: its process was killed by signal 9"
    assert f"vortexctl: warning: a.yml is parsed without a limit on memory and time: {reason}\n" in told
