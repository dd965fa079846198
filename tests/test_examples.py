"""Properties are tried with half of their examples in .ci/run, and with all of them in .ci/extended."""

import pytest

from . import examples as module


@pytest.mark.parametrize(("is_random", "count"), [(False, 100), (True, 200)])
def test_the_number_depends_on_the_kind_of_run(monkeypatch: pytest.MonkeyPatch, is_random: bool, count: int) -> None:
    monkeypatch.setattr(module, "IS_RANDOM", is_random)

    assert count == module.examples(200)
