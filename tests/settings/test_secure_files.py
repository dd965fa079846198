"""Files with secrets: their contents, and the files that are refused whatever they contain. auth/test_files.py has the cases of tokens."""

import os
from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings.secure_files import MAX_BYTES, OTHERS_READ_OR_WRITE, OTHERS_WRITE, TrustedFiles, as_text


def file(path: Path, data: bytes = b"x", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_file_is_handed_on_with_its_name(tmp_path: Path) -> None:
    path = file(tmp_path / "a")

    assert (b"x", str(path)) == TrustedFiles(tmp_path, {}).load(path, OTHERS_READ_OR_WRITE, lambda *both: both)


def test_a_path_starts_at_the_base_or_where_systemd_keeps_credentials(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {"CREDENTIALS_DIRECTORY": "/run/credentials"})

    assert tmp_path / "a" == files.expanded("a")
    assert Path("/run/credentials/a") == files.expanded("$CREDENTIALS_DIRECTORY/a")
    assert TrustedFiles(tmp_path, {}).expanded("$CREDENTIALS_DIRECTORY/a") is None


@pytest.mark.parametrize(
    ("mode", "forbidden", "is_refused"),
    [(0o644, OTHERS_READ_OR_WRITE, True), (0o644, OTHERS_WRITE, False), (0o664, OTHERS_WRITE, True)],
)
def test_T06_who_else_may_read_or_write_decides(tmp_path: Path, mode: int, forbidden: int, is_refused: bool) -> None:
    files = TrustedFiles(tmp_path, {})
    found = files.load(file(tmp_path / "a", mode=mode), forbidden, lambda data, _: data)

    assert (None if is_refused else b"x") == found
    assert is_refused == bool(files.problems)


def test_T06_links_pipes_and_what_is_too_long_are_refused(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})
    (tmp_path / "link").symlink_to(file(tmp_path / "a"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    file(tmp_path / "long", b"x" * (MAX_BYTES + 1))
    for name in ("link", "pipe", "long", "missing"):
        assert files.load(tmp_path / name, OTHERS_READ_OR_WRITE, lambda data, _: data) is None

    assert [str(tmp_path / name) for name in ("link", "pipe", "long", "missing")] == [
        path for path, _ in files.problems
    ]


def test_what_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="a: isn't UTF-8"):
        as_text(b"\xff", "a")


def test_each_problem_of_a_file_has_its_place_and_its_remedy(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})
    (tmp_path / "link").symlink_to(file(tmp_path / "a"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    file(tmp_path / "long", b"x" * (MAX_BYTES + 1))
    file(tmp_path / "read", mode=0o640)
    file(tmp_path / "written", mode=0o620)
    expected = {
        str(tmp_path / "link"): "must not be a symbolic link; name the file itself",
        str(tmp_path / "pipe"): "must be a regular file",
        str(tmp_path / "long"): f"must be at most {MAX_BYTES} bytes long",
        str(tmp_path / "missing"): "can't be read: No such file or directory",
        str(tmp_path / "a\0b"): "isn't the path of a file",
        str(tmp_path / "read"): "is open to other users; run chmod 600 on it",
        str(tmp_path / "written"): "is open to other users; run chmod 644 on it",
    }

    for path in expected:
        forbidden = OTHERS_WRITE if path.endswith("written") else OTHERS_READ_OR_WRITE
        assert files.load(Path(path), forbidden, lambda data, _: data) is None
    assert [*expected.items()] == files.problems


def test_a_file_may_have_the_largest_size(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})

    assert MAX_BYTES == files.load(file(tmp_path / "a", b"x" * MAX_BYTES), OTHERS_WRITE, lambda data, _: len(data))


def test_the_problems_of_a_content_are_noted_with_their_places(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})

    def refuse(data: bytes, name: str) -> None:
        raise SettingsError([("token[0]", "is wrong"), ("", "is empty")], name)

    assert files.load(file(tmp_path / "a"), OTHERS_WRITE, refuse) is None
    assert [(f"{tmp_path}/a: token[0]", "is wrong"), (f"{tmp_path}/a", "is empty")] == files.problems


def test_T06_the_owner_of_a_file_is_root_or_the_user_of_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path / "a")
    owner = path.stat().st_uid or 4_711
    if path.stat().st_uid == 0:
        os.chown(path, owner, -1)

    for user, expected in (
        (owner, []),
        (owner + 1, ["must belong to root or to the user that vortexd runs as; chown it"]),
    ):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        files = TrustedFiles(tmp_path, {})
        files.load(path, OTHERS_WRITE, lambda data, _: data)
        assert expected == [text for _, text in files.problems]


def test_a_credential_of_systemd_may_be_a_link_with_any_mode(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "link").symlink_to(file(credentials / "a", mode=0o644))
    (credentials / "outside").symlink_to(file(tmp_path / "b", mode=0o644))
    files = TrustedFiles(tmp_path, {"CREDENTIALS_DIRECTORY": str(credentials)})

    assert b"x" == files.load(credentials / "link", OTHERS_READ_OR_WRITE, lambda data, _: data)
    # A link that leads out of the directory is judged like any other file.
    assert files.load(credentials / "outside", OTHERS_READ_OR_WRITE, lambda data, _: data) is None
    assert [(str(credentials / "outside"), "must not be a symbolic link; name the file itself")] == files.problems


def test_a_path_below_a_directory_that_systemd_did_not_make_is_noted(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})

    assert files.expanded("$CREDENTIALS_DIRECTORY/a") is None
    ((path, text),) = files.problems
    assert "$CREDENTIALS_DIRECTORY/a" == path
    assert text.startswith("$CREDENTIALS_DIRECTORY isn't set")
