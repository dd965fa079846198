"""Addresses of repositories: the accepted forms, their parts, and the texts with which others are refused."""

import pytest

from vortexd.source.git.remotes import DEFAULT_SCHEMES, SCHEMES, Remote, parse_remote

NO_ADDRESS = "must be the address of a git repository, such as https://git.example/team/config.git"
NO_SCP = f"{NO_ADDRESS}; a directory of this machine is file:///path"
NO_SCHEME = "must begin with one of https://, ssh://, http://, git://, file://"
NO_FILE = "must have three slashes after file:, such as file:///srv/git/config.git"
NO_HOST = "must have the name of a host after ://"
NO_SSH_USER = "must have no password and a plain user for ssh; name a key with ssh_key"
CONTROL = "must have no control characters in its user and password"


def refusal(text: str) -> str:
    with pytest.raises(ValueError) as caught:
        parse_remote(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        (
            "https://git.example/team/config.git",
            Remote("https://git.example/team/config.git", "https", "https://git.example", "/team/config.git"),
        ),
        ("https://git.example/", Remote("https://git.example/", "https", "https://git.example", "/")),
        ("http://git.example:8080/x", Remote("http://git.example:8080/x", "http", "http://git.example:8080", "/x")),
        ("git://_h-1.x/~a/@:b", Remote("git://_h-1.x/~a/@:b", "git", "git://_h-1.x", "/~a/@:b")),
        ("https://[::1]:1/x", Remote("https://[::1]:1/x", "https", "https://[::1]:1", "/x")),
        ("https://h:12345/x", Remote("https://h:12345/x", "https", "https://h:12345", "/x")),
        ("file:///srv/a.git", Remote("file:///srv/a.git", "file", "file://", "/srv/a.git")),
        ("ssh://h/x", Remote("ssh://h/x", "ssh", "ssh://h", "/x")),
    ],
)
def test_an_address_has_a_scheme_a_site_and_a_path(text: str, remote: Remote) -> None:
    assert remote == parse_remote(text)


def test_the_user_of_ssh_stands_in_the_shown_address_and_not_in_the_site() -> None:
    assert Remote("ssh://git@h:22/x", "ssh", "ssh://h:22", "/x", "git") == parse_remote("ssh://git@h:22/x")


def test_the_shown_address_of_ssh_has_the_decoded_user() -> None:
    assert ("ssh://git@h/x", "git") == (parse_remote("ssh://%67it@h/x").uri, parse_remote("ssh://%67it@h/x").user)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_shown_address_over_http_has_neither_user_nor_password(scheme: str) -> None:
    remote = parse_remote(f"{scheme}://u%40x:p%3Ass:w%25@h/x")

    assert (f"{scheme}://h/x", f"{scheme}://h") == (remote.uri, remote.site)
    assert ("u@x", "p:ss:w%") == (remote.user, remote.password)


def test_a_user_without_a_password_and_a_password_without_a_user_are_read() -> None:
    only_user, only_password = parse_remote("https://u@h/x"), parse_remote("https://:p@h/x")

    assert ("u", "") == (only_user.user, only_user.password)
    assert ("", "p") == (only_password.user, only_password.password)


def test_the_text_of_a_remote_does_not_show_the_password() -> None:
    remote = parse_remote("https://u:hunter2@h/x")

    assert "hunter2" not in repr(remote)
    assert "hunter2" == remote.password


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        (
            "git@git.example:team/config.git",
            Remote("git@git.example:team/config.git", "ssh", "ssh://git.example", "team/config.git", "git"),
        ),
        ("h:x", Remote("h:x", "ssh", "ssh://h", "x")),
        ("h:/srv/x", Remote("h:/srv/x", "ssh", "ssh://h", "/srv/x")),
        ("g.i+t-_1@h:x:y@z", Remote("g.i+t-_1@h:x:y@z", "ssh", "ssh://h", "x:y@z", "g.i+t-_1")),
    ],
)
def test_an_address_without_a_scheme_is_one_of_ssh(text: str, remote: Remote) -> None:
    assert remote == parse_remote(text)


def test_encrypted_schemes_of_other_machines_are_the_default() -> None:
    assert {"https", "ssh"} == set(DEFAULT_SCHEMES) < set(SCHEMES)


@pytest.mark.parametrize(
    "text",
    ["", "https://h/\n", "https://h/\0", "https://h/\u202ex", *(f"https://h/a{each}b" for each in " ?#\\\"'<>|")],
)
def test_characters_that_no_address_needs_are_refused(text: str) -> None:
    assert NO_ADDRESS == refusal(text)


def test_an_address_has_at_most_2048_characters() -> None:
    longest = "https://h/" + "x" * 2_038

    assert longest == parse_remote(longest).uri
    assert NO_ADDRESS == refusal(longest + "x")


@pytest.mark.parametrize("scheme", ["ext", "fd", "ftp", "ftps", "rsync", "httpss"])
def test_another_scheme_is_refused_with_those_that_are_accepted(scheme: str) -> None:
    assert NO_SCHEME == refusal(f"{scheme}://h/x")


@pytest.mark.parametrize("text", ["file://h/x", "file://u@/x", "file:////x"])
def test_a_file_is_on_this_machine(text: str) -> None:
    assert NO_FILE == refusal(text)


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "-h", "h-", "h.", ".h", "h%41", "a*b", "[1.2]x"])
def test_a_host_is_a_plain_name(host: str) -> None:
    assert refusal(f"https://{host}/x") in (NO_HOST, NO_SCP)
    assert refusal(f"ssh://{host}/x") in (NO_HOST, NO_SCP)


@pytest.mark.parametrize("host", ["", "-h", "h-", "h."])
def test_a_host_that_is_no_plain_name_is_named_as_the_problem(host: str) -> None:
    assert NO_HOST == refusal(f"https://{host}/x")


@pytest.mark.parametrize("text", ["ssh://git:p@h/x", "ssh://-oX@h/x", "ssh://a%20b@h/x", "ssh://a%0Ab@h/x"])
def test_ssh_has_no_password_and_a_plain_user(text: str) -> None:
    assert NO_SSH_USER == refusal(text)


@pytest.mark.parametrize("text", ["https://u%0A@h/x", "https://u:p%0D@h/x", "http://%00:p@h/x", "git://:%7F@h/x"])
def test_credentials_have_no_control_characters(text: str) -> None:
    assert CONTROL == refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "/srv/x",
        "-x",
        "--upload-pack=x",
        "ext::sh",
        "h::x",
        "h:",
        "-h:x",
        "h-:x",
        "-u@h:x",
        "u!@h:x",
        "@h:x",
        "a/b:x",
        "[::1]:x",
        "https://h",
        "https://h:/x",
        "https://h:123456/x",
        "https://h:x/x",
        "HTTPS://h/x",
        "https://u@v@h/x",
    ],
)
def test_other_texts_are_refused_with_the_form_of_a_directory(text: str) -> None:
    assert NO_SCP == refusal(text)


def test_no_refusal_repeats_the_text() -> None:
    for text in (
        "hunter2",
        "ftp://u:hunter2@h/x",
        "ssh://u:hunter2@h/x",
        "https://hunter2%0A@h/x",
        "https://h/hunter2 ",
        "file://hunter2/x",
        "https://hunter2-/x",
    ):
        assert "hunter2" not in refusal(text)
