"""The stem of a path: files that differ only in a known extension have the same one."""

import pytest

from vortexd.resolve.formats import EXTENSIONS
from vortexd.resolve.stems import stem


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.yml", "a"), ("a.b/c.json", "a.b/c"), ("a.txt", "a.txt"), ("a", "a"), (".yml", ""), ("a.yml.yml", "a.yml")],
)
def test_a_stem_is_a_path_without_a_known_extension(path: str, expected: str) -> None:
    assert expected == stem(path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_each_extension_that_is_read_is_known(extension: str) -> None:
    assert "team/shop-dev.v2" == stem(f"team/shop-dev.v2.{extension}")
