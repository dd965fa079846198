"""One repository, however its address is spelled."""

import pytest

from vortexd.source.repositories import repository_of


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example/team/config.git",
        "https://user@git.example/team/config",
        "https://Git.Example/Team/config/",
        "ssh://git@git.example:2222/team/config.git",
        "git@git.example:team/config.git",
        "git.example:team/config",
        "https://git.example/scm/team/config.git",
    ],
)
def test_spellings_are_one(address: str) -> None:
    assert "git.example/team/config" == repository_of(address)


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        ("file:///srv/config.git", "/srv/config"),
        ("https://other.example/team/config.git", "other.example/team/config"),
        ("https://git.example/", ""),
        ("https://[::1/x", ""),
        ("", ""),
    ],
)
def test_others_are_others(address: str, repository: str) -> None:
    assert repository == repository_of(address)
