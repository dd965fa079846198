"""[http]: its defaults, the prefix of paths, and the names of hidden files."""

import pytest

from vortexd.settings.http import HttpSettings

from .sections import assert_whole, problems, read, waiting

HIDDEN = ("*.bak", "*.orig", "*.swp", "*~", ".#*", "*.rej", "*.tmp")


def test_by_default_paths_have_no_prefix_and_leftovers_of_editors_are_hidden() -> None:
    expected = HttpSettings(prefix="", accept_empty=True, strict_errors=False, hidden_files=HIDDEN)

    assert expected == read(HttpSettings)


@pytest.mark.parametrize(("key", "usual"), [("watches", 4_096), ("watches_per_client", 256)])
def test_the_requests_that_wait_are_limited(key: str, usual: int) -> None:
    assert usual == getattr(HttpSettings(), key)
    assert_whole(HttpSettings, key, 1, 1_000_000)


@pytest.mark.parametrize("prefix", ["", "/config", "/a/b", "/v1.2", "/~team", "/a-_~0", "/..a"])
def test_a_prefix_begins_with_a_slash_and_does_not_end_with_one(prefix: str) -> None:
    assert prefix == read(HttpSettings, f'prefix = "{prefix}"').prefix


@pytest.mark.parametrize(
    "prefix",
    ["config", "/", "/config/", "/a b", "/%2F", "/a/../b", "/..", "/a.", "//x", "/a//b", "/a\\n", "/größe", "/a?b"],
)
def test_a_prefix_that_is_no_beginning_of_a_path_is_refused(prefix: str) -> None:
    expected = {
        "prefix": "must be the beginning of a path, such as /config, without a slash at its end, or empty",
    }

    assert expected == problems(HttpSettings, f'prefix = "{prefix}"')


@pytest.mark.parametrize("name", ["*", "a b", ".git", "größe", "x" * 255])
def test_a_hidden_file_is_named_by_a_glob(name: str) -> None:
    assert (name,) == read(HttpSettings, f'hidden_files = ["{name}"]').hidden_files


@pytest.mark.parametrize("name", ["", "a/b", "\\u0000", "a\\tb", "a\\u001f", "x" * 256])
def test_a_hidden_file_that_is_no_name_of_a_file_is_refused(name: str) -> None:
    expected = {"hidden_files[1]": "must be the name of a file, in which * stands for anything"}

    assert expected == problems(HttpSettings, f'hidden_files = ["*", "{name}"]')


def test_no_file_has_to_be_hidden() -> None:
    assert () == read(HttpSettings, "hidden_files = []").hidden_files


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(HttpSettings)
