"""[formats]: the bounds for files, and their own ranges."""

import pytest

from vortexd.settings.formats import FormatSettings

from .sections import assert_whole, read, waiting

# A bound without a limit of its own ends here.
LARGEST = 1_099_511_627_776


def test_the_default_bounds() -> None:
    expected = FormatSettings(
        depth=64,
        nodes=100_000,
        aliases=1_000,
        documents=1_000,
        list_index=10_000,
        text_bytes=1_048_576,
        expanded_bytes=10_485_760,
        ciphertexts=1_000,
        memory_bytes=536_870_912,
        cpu_seconds=10,
    )

    assert expected == read(FormatSettings)


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("depth", 1, 500),
        ("nodes", 1, LARGEST),
        ("aliases", 0, LARGEST),
        ("documents", 1, LARGEST),
        ("list_index", 0, LARGEST),
        ("text_bytes", 1_024, LARGEST),
        ("expanded_bytes", 1_024, LARGEST),
        ("ciphertexts", 0, LARGEST),
        ("memory_bytes", 67_108_864, LARGEST),
        ("cpu_seconds", 1, 3_600),
    ],
)
def test_a_bound_has_a_range(key: str, low: int, high: int) -> None:
    assert_whole(FormatSettings, key, low, high)


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(FormatSettings)
