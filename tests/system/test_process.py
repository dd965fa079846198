"""The real daemon as the tests and benchmarks start it."""

from pathlib import Path

import pytest

from .process import Server


def test_a_server_with_a_settings_file_keeps_its_state_beside_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, source = tmp_path / "home", tmp_path / "server" / "config"
    source.mkdir(parents=True)
    (source / "shop.yml").write_text("size: 1")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n[[source]]\npath = "{source}"\n'
    with Server(source, settings=settings) as server:
        server.stop()

    assert (tmp_path / "server" / "state" / "vortexd").is_dir()
    assert not home.exists()
