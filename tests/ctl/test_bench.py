"""The benchmark: its figures against a server that loses messages, and a file that is always restored."""

import json
from pathlib import Path

import pytest

from vortexd.ctl import bench, cli
from vortexd.ctl.errors import CtlError

CONTENT = b"a: 1\nb: 2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yml"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    return path


def test_a_change_is_a_line_more_and_the_file_is_put_back(file: Path) -> None:
    with bench._changing(file) as save:
        save(1)
        save(2)
        changed = file.read_bytes()

    assert CONTENT + b"vortexctlbench: change-2-of-vortexctl\n" == changed
    assert (CONTENT, 0o640) == (file.read_bytes(), file.stat().st_mode & 0o777)
    assert [file] == list(file.parent.iterdir())


def test_the_file_is_put_back_however_it_ends(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), bench._changing(file) as save:
        save(1)
        raise KeyboardInterrupt

    assert CONTENT == file.read_bytes()


@pytest.mark.parametrize("name", ["orders.json", "orders", "missing.yml"])
def test_a_file_that_can_not_be_changed_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    if name != "missing.yml":
        (tmp_path / name).write_text("{}")

    with pytest.raises(CtlError, match=name.replace(".", r"\.")) as caught, bench._changing(tmp_path / name):
        pass
    assert 2 == caught.value.status


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["http://127.0.0.1/ws/a/b", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/other", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/ws/a/b"], 2),
        (["ws://127.0.0.1:1/ws/a/b", "--file", "FILE"], 3),
    ],
)
def test_what_can_not_be_measured_is_one_line(
    arguments: list[str], status: int, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file) if each == "FILE" else each for each in arguments]

    assert status == cli.main(["bench", *given])
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert CONTENT == file.read_bytes()


def test_a_daemon_of_its_own_is_measured_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == cli.main(["bench", "--connections", "120", "--changes", "2", "--idle", "0.1", "--json"])
    figures = json.loads(capsys.readouterr().out)

    assert (120, 2, 0) == (figures["connections"], figures["changes"], figures["lost"])
    assert set(bench._ROWS) == set(figures)
    assert None not in figures.values()
    assert 0 < figures["publish_to_client_ms"]["p50"] < figures["save_to_client_ms"]["p50"]
