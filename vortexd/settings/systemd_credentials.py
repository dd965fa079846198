"""Finds the credentials that systemd passes to a service (LoadCredential=, systemd.exec(5)). Pure."""

from collections.abc import Mapping

CREDENTIALS = "$CREDENTIALS_DIRECTORY"


def credential_path(path: str, environment: Mapping[str, str]) -> str | None:
    """Return the path of a systemd credential for a path that begins with $CREDENTIALS_DIRECTORY.

    For any other path, return None.
    Raises:
        LookupError: There is no such directory. The message says what to do, as the end of a sentence that begins with
            the path.
    """
    if path != CREDENTIALS and not path.startswith(CREDENTIALS + "/"):
        return None
    directory = environment.get(CREDENTIALS[1:])
    if not directory:
        raise LookupError(f"{CREDENTIALS} isn't set; start with systemd's LoadCredential=, or name another path")
    return directory + path.removeprefix(CREDENTIALS)
