"""What a daemon sets up before its loop runs."""

import sys
from collections.abc import Iterator

import pytest

from vortexd import daemon
from vortexd.settings import Settings


@pytest.fixture(autouse=True)
def switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_H02_threads_that_compute_hand_the_interpreter_on_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    monkeypatch.setattr(daemon.trio, "run", lambda *_: found.append(sys.getswitchinterval()))
    daemon.run(Settings(), lambda _: None)

    assert found[0] <= 0.001
