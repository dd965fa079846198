"""The examples of vortexd-api(7) with objects of models, in real web applications, against the real server."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .process import Server

API = Path("man/vortexd-api.7").read_text()
BLOCKS = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed", API, re.MULTILINE | re.DOTALL)
REASON = "database.pool.size: isn't an integer (billing-prod.yml:5)"
# What a project of Django has beside the module of its views.
PROJECT = """
import django.conf
django.conf.settings.configure(ROOT_URLCONF="application", ALLOWED_HOSTS=["*"], SECRET_KEY="test")
import django.core.wsgi, django.urls
import example
urlpatterns = [django.urls.path("pool", example.pool)]
app = django.core.wsgi.get_wsgi_application()
"""
APPLICATIONS = {
    "FastAPI": ("from fastapi", "from example import app\n"),
    "Quart": ("from quart", "from example import app\n"),
    "Django": ("from django", PROJECT),
}


def example(words: str) -> str:
    """The program of the manual that has these words."""
    found: list[str] = [block for block in BLOCKS if words in block]
    assert 1 == len(found)
    return found[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    shutil.copytree("conf/example", path)
    return path


def set_size(source: Path, size: str) -> None:
    file = source / "billing-prod.yml"
    file.write_text(re.sub("size: .*", f"size: {size}", file.read_text()))


def until(question: Callable[[], object], wanted: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    answer: object = None
    while time.monotonic() < deadline:
        answer = question()
        if answer == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{answer!r} didn't become {wanted!r}")


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
        return json.load(response)


def acks(server: Server) -> list[tuple[str, str | None]]:
    """The acknowledgements of all instances, as the fleet shows them."""
    keys = get(server.port, "api/v1/fleet?app=billing&profile=prod")["keys"]
    found = [each["ack"] for key in keys for each in key["instances"]]
    return [(ack["status"], ack["error"]) for ack in found if ack]


@contextmanager
def application(directory: Path, port: int, words: str, glue: str) -> Iterator[int]:
    """An example, served by Hypercorn. Returns its port."""
    (directory / "example.py").write_text(example(words).replace("127.0.0.1:8888", f"127.0.0.1:{port}"))
    (directory / "application.py").write_text(glue)
    command = [sys.executable, "-u", "-m", "hypercorn", "application:app", "--bind", "127.0.0.1:0"]
    with (directory / "application.log").open("w+") as log:
        running = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        try:
            found: list[str] = []

            def is_ready() -> bool:
                found[:] = re.findall(r"Running on http://127\.0\.0\.1:(\d+)", Path(log.name).read_text())
                assert running.poll() is None, Path(log.name).read_text()
                return bool(found)

            until(is_ready, True)
            yield int(found[0])
            running.send_signal(signal.SIGINT)
            running.wait(10)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait(10)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_sees_changes_keeps_the_last_good_object_and_reports_why(
    tmp_path: Path, source: Path, name: str
) -> None:
    with Server(source) as server, application(tmp_path, server.port, *APPLICATIONS[name]) as port:

        def pool() -> object:
            return get(port, "pool")

        until(pool, {"size": 20})
        until(lambda: acks(server), [("applied", None)])
        set_size(source, "31")
        until(pool, {"size": 31})
        set_size(source, "ten")
        until(lambda: acks(server), [("rejected", REASON)])
        assert {"size": 31} == pool()
        set_size(source, "32")
        until(pool, {"size": 32})
        until(lambda: acks(server), [("applied", None)])
    log = (tmp_path / "application.log").read_text()
    assert f"isn't used for Pool: {REASON}" in log
    assert "Traceback" not in log


@contextmanager
def program(server: Server, words: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-u", "-c", example(words).replace("127.0.0.1:8888", f"127.0.0.1:{server.port}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def lines(running: "subprocess.Popen[str]", count: int) -> list[str]:
    assert running.stdout
    return [running.stdout.readline().rstrip() for _ in range(count)]


def test_the_example_of_bound_objects_prints_each_object_and_error(source: Path) -> None:
    with Server(source) as server, program(server, "config.bind(Pool") as running:
        pool = "Pool(size=20, timeout=datetime.timedelta(seconds=30))"
        assert [pool, pool, "connected 20"] == lines(running, 3)
        set_size(source, "31")
        assert ["Pool(size=31, timeout=datetime.timedelta(seconds=30))"] == lines(running, 1)
        set_size(source, "ten")
        until(lambda: acks(server), [("rejected", REASON)])
        server.stop()
        [state] = lines(running, 1)
        assert state.startswith("stale: ")
        assert state.endswith(" 31")


def test_vortexctl_shows_the_reason(source: Path) -> None:
    with Server(source) as server, program(server, "config.bind(Pool"):
        until(lambda: acks(server), [("applied", None)])
        set_size(source, "ten")
        until(lambda: acks(server), [("rejected", REASON)])
        command = [
            str(Path(sys.executable).with_name("vortexctl")),
            "fleet",
            "--server",
            f"http://127.0.0.1:{server.port}",
        ]
        shown = subprocess.run(command, check=False, capture_output=True, text=True)

        assert REASON in shown.stdout, shown


def test_the_example_of_pydantic_settings_makes_new_settings_after_a_change(source: Path) -> None:
    with Server(source) as server, program(server, "VortexSettingsSource(") as running:
        assert ["size=20 name='billing'"] == lines(running, 1)
        set_size(source, "31")
        assert ["size=31 name='billing'"] == lines(running, 1)
        # The former settings stay, and the program goes on.
        set_size(source, "ten")
        assert ["1 validation error for Settings", "size"] == lines(running, 2)
        set_size(source, "32")
        while (line := lines(running, 1)) != ["size=32 name='billing'"]:
            assert "size=" not in line[0]


def test_the_error_of_the_manual_is_the_one_of_the_library(source: Path) -> None:
    set_size(source, "ten")
    with Server(source) as server, program(server, "config.bind(Pool") as running:
        assert running.stderr
        error = running.stderr.read()

    [shown] = [block.strip() for block in BLOCKS if block.startswith("database.pool.size: ")]
    assert shown in error
