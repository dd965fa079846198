"""The paths of credentials that systemd passes to a service."""

import pytest

from vortexd.settings.systemd_credentials import credential_path

ENVIRONMENT = {"CREDENTIALS_DIRECTORY": "/run/credentials/vortexd.service"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$CREDENTIALS_DIRECTORY/tokens", "/run/credentials/vortexd.service/tokens"),
        (
            "$CREDENTIALS_DIRECTORY/a/$CREDENTIALS_DIRECTORY",
            "/run/credentials/vortexd.service/a/$CREDENTIALS_DIRECTORY",
        ),
        ("$CREDENTIALS_DIRECTORY/", "/run/credentials/vortexd.service/"),
        ("$CREDENTIALS_DIRECTORY", "/run/credentials/vortexd.service"),
    ],
)
def test_the_directory_of_systemd_replaces_its_name(path: str, expected: str) -> None:
    assert expected == credential_path(path, ENVIRONMENT)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tokens",
        "/etc/vortexd/tokens",
        "$CREDENTIALS_DIRECTORY2/tokens",
        "$CREDENTIALS_DIRECTORYtokens",
        "a/$CREDENTIALS_DIRECTORY/tokens",
        "CREDENTIALS_DIRECTORY/tokens",
        "$HOME/tokens",
    ],
)
def test_any_other_path_names_no_credential(path: str) -> None:
    assert credential_path(path, ENVIRONMENT) is None
    assert credential_path(path, {}) is None


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": ""}])
@pytest.mark.parametrize("path", ["$CREDENTIALS_DIRECTORY", "$CREDENTIALS_DIRECTORY/tokens"])
def test_without_the_directory_the_error_says_what_to_do(path: str, environment: dict[str, str]) -> None:
    with pytest.raises(LookupError) as caught:
        credential_path(path, environment)

    expected = "$CREDENTIALS_DIRECTORY isn't set; start with systemd's LoadCredential=, or name another path"
    assert (expected,) == caught.value.args
