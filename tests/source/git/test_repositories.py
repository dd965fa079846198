"""Different spellings of one repository's address."""

import pytest

from vortexd.source.git.repositories import may_be_one_of, repository_of


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


@pytest.mark.parametrize(
    ("repository", "others", "may_be"),
    [
        ("git.example/team/config", ["git.example/team/config"], True),
        ("gitlab.internal/team/config", ["git.example/other", "git.example/team/config"], True),
        ("git.example/team/config", ["git.example/team/other"], False),
        ("git.example/team/config", ["git.example/config", "git.example/a/team/config"], False),
        ("git.example/team/config", [], False),
        ("/srv/config", ["git.example/team/config"], True),
    ],
)
def test_a_repository_is_told_by_its_path_for_a_server_has_several_names(
    repository: str, others: list[str], may_be: bool
) -> None:
    assert may_be == may_be_one_of(repository, others)
