"""Templates rendered in a separate process: the same results as in this process, and limits that hold."""

import errno
import os
import subprocess
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from vortexd.agent import apart
from vortexd.agent.apart import render_apart, work
from vortexd.agent.rendering import RenderError, Scope


def rendered(directory: Path, text: str, config: Any = None, max_bytes: int = 1_000_000) -> str:
    (directory / "main.j2").write_text(text)
    scope = Scope(config or {}, "v1", "shop", "prod", "main", {"HOME": "/root"})
    return render_apart(directory / "main.j2", scope, max_bytes).decode()


def refusal(directory: Path, text: str, config: Any = None) -> str:
    with pytest.raises(RenderError) as caught:
        rendered(directory, text, config)
    return str(caught.value)


def test_a_template_and_what_it_includes_see_what_they_would_here(tmp_path: Path) -> None:
    (tmp_path / "part.j2").write_text("{{ config.a.b[1] }} {{ config.big }} {{ env.HOME }}")
    text = "{{ version }} {{ app }}/{{ profile }}/{{ label }} {% include 'part.j2' %} {{ config.none | json }} é😀\n"
    config = {"a": {"b": [1, 2.5]}, "big": 2**63 - 1, "none": None}

    assert "v1 shop/prod/main 2.5 9223372036854775807 /root null é😀\n" == rendered(tmp_path, text, config)
    assert "x" == rendered(tmp_path, "{{ config.a }}", MappingProxyType({"a": "x"}))
    assert "" == rendered(tmp_path, "")


def test_a_large_file_comes_back_whole_and_in_pieces(tmp_path: Path) -> None:
    text = "{% for number in range(50000) %}{{ number }}\n{% endfor %}"
    (tmp_path / "main.j2").write_text(text)
    members = {"config": {}, "version": "", "app": "", "profile": "", "label": "", "env": {}}
    pieces = list(work((str(tmp_path / "main.j2"), 1_000_000, members), b""))

    expected = "".join(f"{number}\n" for number in range(50_000))
    assert expected == rendered(tmp_path, text)
    assert expected == b"".join(piece for _, piece in pieces).decode()
    assert {"made"} == {kind for kind, _ in pieces}
    assert all(len(piece) <= 65_536 for _, piece in pieces)


def test_an_error_is_the_one_that_it_would_be_here(tmp_path: Path) -> None:
    assert refusal(tmp_path, "one\n{{ config.pool }}").startswith(f"{tmp_path}/main.j2:2: pool isn't in the")
    with pytest.raises(RenderError, match="the output exceeds 3 bytes"):
        rendered(tmp_path, "four", max_bytes=3)


def test_a_template_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part.j2").write_text("")
    (tmp_path / "part.j2").chmod(0o666)

    assert "part.j2" in refusal(tmp_path, "{% include 'part.j2' %}")


def test_loops_without_an_end_in_sight_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "CPU_SECONDS", 1)
    loops = "{% for a in range(99999) %}" * 5 + "{% endfor %}" * 5

    assert f"{tmp_path}/main.j2: rendering it takes more than 1 s of processor time" == refusal(tmp_path, loops)


@pytest.mark.parametrize("text", ["{{ 'x' * 10 ** 10 }}", "{{ [0] * 10 ** 9 }}", "{{ 'x' | center(10 ** 10) }}"])
def test_memory_without_bound_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    reason = "uses more memory than a template may use"

    assert f"{tmp_path}/main.j2:2: {reason}" == refusal(tmp_path, f"\n{text}")


def test_memory_is_bounded_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{{ ('x' * 50000000) | length }}"

    assert "50000000" == rendered(tmp_path, text)
    monkeypatch.setattr(apart, "MEMORY_BYTES", 40_000_000)
    assert "uses more memory than a template may use" in refusal(tmp_path, text)


def test_without_a_process_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", fail)
    reason = "can't start a process to render it: Resource temporarily unavailable"
    assert f"{tmp_path}/main.j2: {reason}" == refusal(tmp_path, "x")
