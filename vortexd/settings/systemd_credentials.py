"""Where systemd puts the credentials of a service (LoadCredential=, systemd.exec(5)). Pure."""

from collections.abc import Mapping

CREDENTIALS = "$CREDENTIALS_DIRECTORY"


def credential_path(path: str, environment: Mapping[str, str]) -> str | None:
    """Where a credential of systemd is, for a path that begins with $CREDENTIALS_DIRECTORY; None for any other path.

    Raises:
        LookupError: There is no such directory; says what to do, as the end of a sentence that begins with the path.
    """
    if path != CREDENTIALS and not path.startswith(CREDENTIALS + "/"):
        return None
    directory = environment.get(CREDENTIALS[1:])
    if not directory:
        raise LookupError(f"{CREDENTIALS} isn't set; start with systemd's LoadCredential=, or name another path")
    return directory + path.removeprefix(CREDENTIALS)
