"""The little client of the command line, against the real process."""

import subprocess
import sys
from pathlib import Path

import pytest

from vortexd import watch

from .process import Server


def test_it_prints_the_state_and_each_difference(tmp_path: Path) -> None:
    source = tmp_path / "config"
    source.mkdir()
    (source / "shop.yml").write_text("pool: 1\nfiller: " + "x" * 100 + "\n")
    with Server(source) as server:
        url = f"ws://127.0.0.1:{server.port}/ws/shop/dev"
        watching = subprocess.Popen([sys.executable, "-m", "vortexd.watch", url], stdout=subprocess.PIPE, text=True)
        with watching:
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith("config_snapshot ")
            while watching.stdout.readline() != "    }\n":
                pass
            (source / "shop.yml").write_text("pool: 2\nfiller: " + "x" * 100 + "\n")
            assert watching.stdout.readline().startswith("config_change ")
            assert watching.stdout.readline() == "    replace /pool 2\n"
            assert server.stop() == 0
            assert watching.stdout.readline().startswith("connection_closing ")
            assert watching.stdout.readline() == "closed: 1001 the server is stopping\n"
        assert watching.returncode == 0


def test_where_nobody_listens_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.main(["ws://127.0.0.1:1/ws/a/b"]) == 1
    assert "can't watch ws://127.0.0.1:1/ws/a/b" in capsys.readouterr().err


def test_a_patch_reads_as_lines() -> None:
    message = {
        "type": "config_change",
        "schema": 1,
        "app": "a",
        "diff": [
            {"op": "move", "path": "/b", "from": "/a"},
            {"op": "remove", "path": "/c"},
            {"op": "replace", "path": "", "value": {"d": 1}},
        ],
    }

    assert list(watch.describe(message)) == [
        "config_change app=a",
        "    move /b from /a",
        "    remove /c",
        '    replace (all) {"d": 1}',
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://a/ws/b/c", "ws://a/ws/b/c?instance="),
        ("ws://a/ws/b/c?label=d", "ws://a/ws/b/c?label=d&instance="),
        ("ws://a/ws/b/c?instance=e", "ws://a/ws/b/c?instance=e"),
        ("ws://a/ws/b/c?label=instance", "ws://a/ws/b/c?label=instance&instance="),
    ],
)
def test_who_only_watches_is_no_instance_of_the_application(url: str, expected: str) -> None:
    assert expected == watch.uncounted(url)
