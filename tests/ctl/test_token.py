"""`vortexctl token`: new tokens, and the entries of token files as the server reads them."""

from pathlib import Path

import pytest

from vortexd.auth.tokens import digest_of, load_tokens
from vortexd.ctl import cli

ENTRY = '[[token]]\nname = "{name}"\nsha256 = "{digest}"\nrights = ["subscribe", "read"]\npatterns = ["billing:prod"]\n'


def new(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Return a new token and its entry."""
    assert 0 == cli.main(["token", "new", *arguments])
    printed = capsys.readouterr().out
    return printed.splitlines()[0], printed[printed.index("[[token]]") :]


def saved(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_new_token_has_the_rights_and_patterns_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    token, entry = new(
        capsys,
        "billing",
        "--right",
        "read",
        "--pattern",
        "billing:*",
        "--pattern",
        "x",
        "--expires",
        "2999-01-01T00:00:00Z",
    )

    (made,) = load_tokens(entry, "")
    (grant,) = made.principal.grants
    assert (digest_of(token), "billing", 32_472_144_000.0) == (
        made.digest,
        made.principal.name,
        made.principal.expires_at,
    )
    assert ({"read"}, ["billing:*:*", "x:*:*"]) == (
        {each.value for each in grant.rights},
        list(map(str, grant.patterns)),
    )
    assert token not in entry


def test_an_administrators_token_has_no_patterns_and_an_end_may_be_in_days(capsys: pytest.CaptureFixture[str]) -> None:
    _, entry = new(capsys, "ops", "--right", "admin", "--expires", "90d")

    (made,) = load_tokens(entry, "")
    assert () == made.principal.grants[0].patterns
    assert made.principal.expires_at is not None


@pytest.mark.parametrize("arguments", [["a b"], ["a", "--pattern", "::::"], ["a", "--expires", "soon"]])
def test_a_token_that_could_not_be_used_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == cli.main(["token", "new", *arguments])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith("vortexctl: error: the new token: token[0].")


def test_files_are_listed_without_a_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest, other = digest_of("a"), digest_of("b")
    file = saved(tmp_path / "a.toml", ENTRY.format(name="billing", digest=digest))
    text = ENTRY.format(name="old", digest=other) + 'expires = "2001-01-01T00:00:00Z"\n'
    directory = tmp_path / "more"
    directory.mkdir()
    saved(directory / "b.toml", text)

    assert 0 == cli.main(["token", "list", file, str(directory)])
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        "NAME     RIGHTS          PATTERNS        EXPIRES",
        "billing  read,subscribe  billing:prod:*  never",
        "old      read,subscribe  billing:prod:*  2001-01-01T00:00:00Z (expired)",
    ]
    assert digest not in printed


def test_T06_check_says_all_that_the_server_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = ENTRY.format(name="billing", digest=digest_of("a"))
    sound = saved(tmp_path / "a.toml", entry)

    assert 0 == cli.main(["token", "check", sound])
    assert "1 token\n" == capsys.readouterr().out
    open_to_all = saved(tmp_path / "b.toml", entry, 0o644)
    wrong = saved(tmp_path / "c.toml", entry.replace("subscribe", "write"))
    assert 1 == cli.main(["token", "check", sound, sound, open_to_all, wrong])
    printed = capsys.readouterr().out
    assert f"{open_to_all}: is open to other users; run chmod 600 on it\n" in printed
    assert f"{wrong}: token[0].rights[0]: must be one of read, subscribe, report, admin\n" in printed
    assert "token billing: occurs twice" in printed


def test_check_says_whose_a_token_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token, entry = new(capsys, "billing")
    old, over = new(capsys, "old", "--expires", "2001-01-01T00:00:00Z")
    file = saved(tmp_path / "a.toml", entry + over)

    statuses = [
        cli.main(["token", "check", file, "--token-file", saved(tmp_path / "token", text)])
        for text in (token, old, "vt_" + "x" * 43)
    ]
    printed = capsys.readouterr().out.splitlines()
    assert ([0, 1, 1], "no entry has this token") == (statuses, printed[2])
    assert printed[0].startswith("billing  read,subscribe,report  *:*:*")
    assert token not in "".join(printed)
