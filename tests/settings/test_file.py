"""Settings: the contents of the sample file, and the refused settings."""

import re
from functools import partial
from pathlib import Path

import attrs
import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings import file
from vortexd.settings.file import own_files
from vortexd.settings.gate import GateSettings
from vortexd.settings.rollout import RolloutSettings
from vortexd.settings.root import RESTART, SECTIONS, TABLES, Settings
from vortexd.source.etcd.settings import EtcdSettings
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.kinds import KINDS
from vortexd.source.published.settings import PublishedSettings

from .sections import read

ROOT = Path(__file__).parents[2]
BASE = Path("/etc/vortexd")
SOURCE = '[[source]]\npath = "config"\n'
load = partial(file.load, kinds=KINDS)
examine = partial(file.examine, kinds=KINDS)
override = partial(file.override, kinds=KINDS)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(text, "vortexd.toml", BASE)
    return dict(caught.value.problems)


def sections() -> list[tuple[str, type]]:
    return [
        *(
            (field.name, type(getattr(Settings(), field.name)))
            for field in attrs.fields(Settings)
            if field.name not in ("source", *TABLES, "overrides")
        ),
        *TABLES.items(),
        *(("source", kind) for kind in KINDS.values()),
    ]


def without_tables(sample: str) -> tuple[str, str, str]:
    """Return the sample file without the sections [[gate]] and [[rollout]], and these."""
    before, _, rest = sample.partition("# [[gate]]\n")
    gate, _, rest = rest.partition("# [[rollout]]\n")
    rollout, heading, after = rest.partition("\n[formats]\n")
    assert heading
    return before + heading + after, gate, rollout


def test_the_sample_file_holds_the_defaults_of_the_code() -> None:
    # A gate without a rule would be refused, so its section has a test of its own.
    sample, *tables = without_tables((ROOT / "conf/vortexd.toml").read_text())
    for kind, text in zip((GateSettings, RolloutSettings), tables, strict=True):
        assert kind() == read(kind, re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE))
    uncommented = re.sub(r"^# (\[\[source\]\]|\w+ = .+)$", r"\1", sample, flags=re.MULTILINE)
    settings = load(uncommented, "vortexd.toml", BASE)
    directory = FilesSettings(path="/etc/vortexd/config")

    repository = GitSettings(uri="https://git.example/team/config.git")
    endpoints = ("https://etcd-1.example:2379", "https://etcd-2.example:2379")
    prefix = EtcdSettings(endpoints=endpoints, prefix="/config/")

    state = PublishedSettings(endpoints=endpoints, cluster="production")

    assert Settings(source=(directory, repository, prefix, state)) == settings
    assert Settings(source=(directory,)) == load(sample, "vortexd.toml", BASE)


@pytest.mark.parametrize("name", ["conf/vortexd.toml", "man/vortexd.toml.5"])
def test_every_key_is_documented(name: str) -> None:
    text = (ROOT / name).read_text()
    for section, settings in sections():
        start = text.index(f"[{section}]")
        for field in attrs.fields(settings):
            assert re.search(rf"^(?:# |\.It Ic )?{field.name}\b", text[start:], re.MULTILINE), (section, field.name)


@pytest.mark.parametrize("label", ["v1.2.3+build.5", "dependabot/npm/@types/node"])
def test_a_default_label_and_the_labels_served_may_hold_plus_and_at(label: str) -> None:
    settings = load(f'{GIT}default_label = "{label}"\nlabels = ["{label}", "*+*", "@*"]\n', "vortexd.toml", BASE)

    [source] = settings.source
    assert isinstance(source, GitSettings)
    assert (label, (label, "*+*", "@*")) == (source.default_label, source.labels)


@pytest.mark.parametrize("label", ["a#b", "größe", "-x", "a..b", "@{-1}"])
def test_a_default_label_that_no_label_can_be_is_refused(label: str) -> None:
    assert ["source[0].default_label"] == list(problems(f'{GIT}default_label = "{label}"\n'))


@pytest.mark.parametrize("value", ['"7400"', "true", "7.9", "[1]", "-1"])
def test_a_number_is_a_number_and_nothing_like_it(value: str) -> None:
    found = problems(f"{SOURCE}[server]\nhead_bytes = {value}\n")

    assert ["server.head_bytes"] == list(found)
    assert "whole number" in found["server.head_bytes"]


@pytest.mark.parametrize("value", ["nan", "inf", "true", '"1"', "0", "31"])
def test_a_duration_is_a_number_of_seconds_within_its_range(value: str) -> None:
    found = problems(f"{SOURCE}[server]\ndrain_timeout = {value}\n")

    assert ["server.drain_timeout"] == list(found)
    assert "from 1 to 30" in found["server.drain_timeout"]


def test_all_problems_come_at_once_each_with_its_key() -> None:
    found = problems(
        'colour = 1\n[server]\nbind = ["nowhere"]\nhead_byts = 7\n[[source]]\nkind = "ftp"\n[log]\nlevel = 3\n'
    )

    assert {"colour", "server.bind[0]", "server.head_byts", "source[0].kind", "source[0].path", "log.level"} == set(
        found
    )
    assert "head_bytes" in found["server.head_byts"]


def test_a_value_of_the_wrong_type_is_not_repeated() -> None:
    found = problems(f'{SOURCE}[server]\nhead_bytes = "hunter2"\n')

    assert "hunter2" not in str(found)


def test_a_syntax_error_has_its_line() -> None:
    found = problems("[server]\nbind = \n")

    assert "line 2" in str(found)


GIT = '[[source]]\nkind = "git"\nuri = "https://git.example/config.git"\n'


def test_sources_of_both_kinds_stand_beside_each_other() -> None:
    settings = load(SOURCE + GIT + 'password_file = "token"\n', "vortexd.toml", BASE)

    assert settings.source == (
        FilesSettings(path="/etc/vortexd/config"),
        GitSettings(uri="https://git.example/config.git", password_file="/etc/vortexd/token"),
    )


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (SOURCE + 'uri = "https://x/y"\n', "source[0].uri", 'for kind = "git"'),
        (GIT + 'path = "x"\n', "source[0].path", 'for kind = "files"'),
        ('[[source]]\nkind = "git"\n', "source[0].uri", "is missing"),
        ('[[source]]\nkind = "git"\nuri = 5\n', "source[0].uri", "not a whole number"),
        (GIT + 'ssh_key = "x"\n', "source[0].ssh_key", "ssh"),
        (GIT + 'search_paths = ["../up"]\n', "source[0].search_paths[0]", "directory"),
        (GIT + 'search_paths = [".git"]\n', "source[0].search_paths[0]", "directory"),
        (GIT + 'schemes = ["ext"]\n', "source[0].schemes[0]", "https"),
    ],
)
def test_a_key_that_a_source_has_no_use_for_is_refused_with_its_path(text: str, key: str, said: str) -> None:
    assert said in problems(text)[key]


@pytest.mark.parametrize(
    "uri",
    [
        "ext::sh -c touch% /tmp/pwn",
        "ssh://-oProxyCommand=touch/x",
        "ssh://-x/",
        "-oProxyCommand=x:y",
        "--upload-pack=x",
        "https:///config.git",
        "https://-x/y",
        "/srv/git/config.git",
        "fd::17",
        "https://host/x y",
        "https://host/x\\u000ay",
        "ftp://host/x",
        "file://host/x",
        "ssh://git:secret@host/x",
    ],
)
def test_G05_an_address_that_git_could_take_for_something_else_is_refused(uri: str) -> None:
    found = problems(f'[[source]]\nkind = "git"\nuri = "{uri}"\nschemes = ["https", "ssh", "file"]\n')

    assert "source[0].uri" in found
    assert uri not in str(found)


@pytest.mark.parametrize("uri", ["file:///srv/x", "git://host/x", "http://host/x"])
def test_G05_what_nothing_protects_must_be_asked_for(uri: str) -> None:
    text = f'[[source]]\nkind = "git"\nuri = "{uri}"\n'

    assert "schemes" in problems(text)["source[0].uri"]
    assert load(text + f'schemes = ["{uri.partition(":")[0]}"]\n', "vortexd.toml", BASE)


def test_G10_a_password_in_an_address_is_not_repeated() -> None:
    found = problems(GIT.replace("https://", "gopher://user:hunter2@"))

    assert "hunter2" not in str(found)


def test_the_command_line_is_checked_like_the_file() -> None:
    settings = load(SOURCE, "vortexd.toml", BASE)

    with pytest.raises(SettingsError) as caught:
        override(settings, bind=["nowhere"], log_format="loud")
    assert 2 == len(caught.value.problems)


def test_overrides_are_texts_under_flat_keys_however_they_are_written() -> None:
    text = SOURCE + '[overrides]\n"a.b" = "1"\nc = {"d[0]" = "2"}\n[overrides.e]\nf = "3"\n'

    assert {"a.b": "1", "c.d[0]": "2", "e.f": "3"} == load(text, "vortexd.toml", BASE).overrides


@pytest.mark.parametrize(
    ("line", "said"),
    [("a = 1", "a must be text"), ("a = {b = true}", "must be text"), ('"a[10001]" = "x"', "no index above")],
)
def test_an_override_that_is_no_text_is_refused_without_its_value(line: str, said: str) -> None:
    assert said in problems(f"{SOURCE}[overrides]\n{line}\n")["overrides"]


def test_P13_the_files_that_settings_name_are_vortexds_own() -> None:
    text = (
        '[auth]\ntokens = ["tokens.toml", "$CREDENTIALS_DIRECTORY/more"]\njwt_secret = "jwt"\n[tls]\ncertificate = "c.pem"\n'
        '[monitor]\nsecret = "hook"\n[cluster]\nname = "c"\nendpoints = ["https://a"]\nuser = "u"\n'
        'password_file = "etcd"\nca_file = "ca"\ncertificate = "own"\nkey = "$CREDENTIALS_DIRECTORY/key"\n'
        + SOURCE
        + GIT
        + 'password_file = "git"\n'
    )
    own = own_files(load(text, "vortexd.toml", BASE))

    assert [
        f"/etc/vortexd/{name}" for name in ("tokens.toml", "jwt", "c.pem", "hook", "etcd", "ca", "own", "git")
    ] == own


def test_the_keys_of_a_cluster_are_checked_together() -> None:
    assert {"cluster.endpoints": "is missing; name the client addresses of etcd's members"} == problems(
        f'{SOURCE}[cluster]\nname = "c"\n'
    )
    assert {"cluster.user": "has no effect without name"} == problems(f'{SOURCE}[cluster]\nuser = "u"\n')
    assert ["cluster"] == list(problems(f"cluster = 1\n{SOURCE}"))


@pytest.mark.parametrize(
    ("name", "mark", "git"),
    [
        ("conf/vortexd.toml", r"^(?:# )?{key} = .*  # (\w+)$", "# A git repository."),
        (
            "man/vortexd.toml.5",
            r"^\.It Ic {key}$(?:\n(?!\.It Ic ).*)*?\n(?:Default: .*|Required); (\w+)\.$",
            "Written by write_settings.py: source git",
        ),
    ],
)
def test_every_key_says_whether_a_reload_is_enough(name: str, mark: str, git: str) -> None:
    """What a reload really does is for tests/test_reload.py."""
    text = (ROOT / name).read_text()
    for section, settings in sections():
        rest = text[text.index(f"[{section}]") :]
        if settings is GitSettings:
            rest = rest[rest.index(git) :]
        for field in attrs.fields(settings):
            key = f"{section}.{field.name}"
            found = re.search(mark.format(key=field.name), rest, re.MULTILINE)
            assert found is not None, f"{name}: {key} doesn't say whether it takes a restart"
            assert ("restart" if key in RESTART else "reload") == found[1], key


@pytest.mark.parametrize("title", SECTIONS)
def test_the_constraints_of_every_section_hold(title: str) -> None:
    field = next(each for each in attrs.fields(SECTIONS[title]))
    wrong = "1" if isinstance(field.default, str | tuple) else '"x"'

    assert [f"{title}.{field.name}"] == list(problems(f"{SOURCE}[{title}]\n{field.name} = {wrong}\n"))


# Settings as far as they can be used.


@pytest.mark.parametrize(
    ("wrong", "keys"),
    [
        ("[server]\nhead_bytes = true\nhead_byts = 7\n", ["server.head_bytes", "server.head_byts"]),
        ('colour = 1\n"a b" = 2\n[log]\nlevel = 3\n', ["log.level", '"a b"', "colour"]),
        (f'"{"x" * 80}" = 1\n', [f'"{"x" * 64}"']),
        ("log = 1\n", ["log"]),
        ('[server]\nbind = ["nowhere", "127.0.0.1:1", 2]\n', ["server.bind[0]", "server.bind[2]"]),
        ("[overrides]\na = 1\n", ["overrides"]),
    ],
)
def test_what_is_wrong_is_as_if_it_was_not_there(wrong: str, keys: list[str]) -> None:
    settings, found = examine(f'{wrong}[tls]\ncertificate = "a.pem"\n{SOURCE}', "vortexd.toml", BASE)

    assert keys == [key for key, _ in found]
    assert "/etc/vortexd/a.pem" == settings.tls.certificate
    assert (FilesSettings(path="/etc/vortexd/config"),) == settings.source


def test_the_good_items_of_a_list_stay() -> None:
    settings, _ = examine(f'[server]\nbind = ["nowhere", "127.0.0.1:1", 2, "127.0.0.1:2"]\n{SOURCE}', "a", BASE)

    assert ("127.0.0.1:1", "127.0.0.1:2") == settings.server.bind


def test_sources_keep_their_numbers() -> None:
    text = '[[source]]\nkind = "ftp"\nuri = "https://a.example/b"\n[[source]]\npath = 1\n[[source]]\npath = "c"\n'
    settings, found = examine(text, "a", BASE)

    assert {"source[0].kind", "source[0].uri", "source[0].path", "source[1].path"} == {key for key, _ in found}
    assert tuple(FilesSettings(path=path) for path in ("", "", "/etc/vortexd/c")) == settings.source


def test_what_is_wrong_between_keys_is_of_the_text_as_it_is() -> None:
    _, found = examine('[server]\nbind = []\n[[source]]\nkind = "git"\nuri = "http://a.example/b"\n', "a", BASE)

    assert ["source[0].uri", "server.bind"] == [key for key, _ in found]


def test_all_that_is_found_is_what_is_refused() -> None:
    text = 'colour = 1\n[server]\nbind = ["nowhere"]\n[[source]]\nkind = "ftp"\n'

    assert dict(examine(text, "vortexd.toml", BASE)[1]) == problems(text)


# The source of the command line.


def test_an_address_takes_the_place_of_all_sources_with_the_keys_of_the_first_repository() -> None:
    first = GitSettings(
        uri="https://a.example/one",
        default_label="next",
        username="u",
        password_file="/p",
        ca_file="/c",
        loaded_labels=3,
    )
    settings = Settings(source=(FilesSettings(path="/x"), first, GitSettings(uri="https://b.example/two")))

    (same,) = override(settings, source="https://a.example/other").source
    assert attrs.evolve(first, uri="https://a.example/other") == same
    (elsewhere,) = override(settings, source="https://c.example/other").source
    expected = attrs.evolve(first, uri="https://c.example/other", username="", password_file="", ca_file="")
    assert expected == elsewhere


def test_no_credential_goes_to_another_host() -> None:
    first = GitSettings(uri="git@a.example:one", ssh_key="/k", known_hosts="/h")

    (found,) = override(Settings(source=(first,)), source="git@b.example:one").source
    assert GitSettings(uri="git@b.example:one") == found


@pytest.mark.parametrize("scheme", ["http", "git", "file"])
def test_who_writes_an_address_has_asked_for_its_scheme(scheme: str) -> None:
    host = "" if scheme == "file" else "a.example"

    (found,) = override(Settings(), source=f"{scheme}://{host}/b").source
    assert isinstance(found, GitSettings)
    assert ("https", "ssh", scheme) == found.schemes


@pytest.mark.parametrize("address", ["ftp://a.example/b", "https://", "file://host/b", "https://a.example/b c"])
def test_an_address_that_can_not_be_one_is_refused(address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        override(Settings(), source=address)

    assert ("command line", "--source") == (caught.value.origin, caught.value.problems[0][0])


@pytest.mark.parametrize("parts", [64, 600, 3_000])
def test_dotted_keys_that_nest_too_deeply_are_refused(parts: int) -> None:
    text = f"{SOURCE}[overrides]\n{'.'.join('a' * parts)} = '1'\n"

    assert {"": "can't be read: it is nested too deeply"} == problems(text)


def test_dotted_keys_may_have_many_parts() -> None:
    text = f"{SOURCE}[overrides]\n{'.'.join('a' * 60)} = '1'\n"

    assert {".".join("a" * 60): "1"} == load(text, "vortexd.toml", BASE).overrides


# Conflicts between keys, and keys in the wrong place.


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("", "source", "is missing; add [[source]] with the path of the directory to serve"),
        ("source = []\n", "source", "is missing; add [[source]] with the path of the directory to serve"),
        ("source = 1\n", "source", "must be an array of tables, headed [[source]], not a whole number"),
        ("source = [1]\n", "source[0]", "must be a table, not a whole number"),
        (
            SOURCE + "kind = 1\n",
            "source[0].kind",
            'must be "files" or "git" or "etcd" or "published", not a whole number',
        ),
        (SOURCE + 'kind = "ftp"\n', "source[0].kind", 'must be "files" or "git" or "etcd" or "published"'),
        (SOURCE + "[server]\nbind = []\n", "server.bind", "must name at least one address"),
        ("server = 1\n" + SOURCE, "server", "must be a table, not a whole number"),
        ("overrides = 1\n" + SOURCE, "overrides", "must be a table, not a whole number"),
        ("head_bytes = 1\n" + SOURCE, "head_bytes", "unknown key here; it belongs to [server]"),
        ("path = 'x'\n" + SOURCE, "path", "unknown key here; it belongs to [source]"),
        (SOURCE + "[log]\nwrite_timeout = 1\n", "log.write_timeout", "unknown key here; it belongs to [server]"),
    ],
)
def test_a_text_that_contradicts_itself_is_refused(text: str, key: str, expected: str) -> None:
    assert {key: expected} == problems(text)


def test_a_text_needs_no_source_if_the_command_line_names_one() -> None:
    assert () == load("", "vortexd.toml", BASE, needs_source=False).source


@pytest.mark.parametrize("address", ["127.0.0.1:80", "[::1]:80", "unix:/run/x"])
def test_an_address_that_is_listed_twice_is_refused(address: str) -> None:
    text = f'{SOURCE}[server]\nbind = ["{address}", "127.0.0.1:81", "{address}"]\n'

    assert {"server.bind[2]": "is listed twice; remove one"} == problems(text)


def test_equal_addresses_are_listed_twice_however_they_are_written() -> None:
    text = f'{SOURCE}[server]\nbind = ["[::1]:80", "[0::1]:080"]\n'

    assert {"server.bind[1]": "is listed twice; remove one"} == problems(text)


def test_several_free_ports_of_one_host_may_be_listed() -> None:
    settings = load(f'{SOURCE}[server]\nbind = ["127.0.0.1:0", "127.0.0.1:0"]\n', "vortexd.toml", BASE)

    assert ("127.0.0.1:0",) * 2 == settings.server.bind


@pytest.mark.parametrize("index", ["9999", "10000", "0010000", "00000"])
def test_an_override_may_have_an_index_up_to_10000(index: str) -> None:
    text = f'{SOURCE}[overrides]\n"a[{index}]" = "x"\n'

    assert {f"a[{index}]": "x"} == load(text, "vortexd.toml", BASE).overrides


@pytest.mark.parametrize("index", ["10001", "100000", "9" * 5_000])
def test_an_override_with_a_larger_index_is_refused(index: str) -> None:
    found = problems(f'{SOURCE}[overrides]\n"a[{index}]" = "x"\n')

    assert ["overrides"] == list(found)
    assert found["overrides"].endswith(" must have no index above 10000")


def test_all_wrong_overrides_are_named_at_once() -> None:
    text = f'{SOURCE}[overrides]\na = 1\n"b c" = []\n[overrides.d]\ne = true\nf = "x"\n'
    expected = 'a must be text; put its value in quotes; "b c" must be text; put its value in quotes; "d.e" must be text; put its value in quotes'

    assert {"overrides": expected} == problems(text)


# Paths, and the options of the command line.


def test_relative_paths_begin_at_the_directory_of_the_file_and_empty_ones_stay_empty() -> None:
    text = (
        SOURCE + '[tls]\ncertificate = "c.pem"\nkey = "/k.pem"\nclient_ca = "$CREDENTIALS_DIRECTORY/ca.pem"\n'
        '[monitor]\nsecret = "hook"\n[server]\nstate_directory = "state"\n'
        '[auth]\ntokens = ["a", "/b", "$CREDENTIALS_DIRECTORY/c"]\njwt_secret = "s"\njwks = "j"\n'
        '[encryption]\nkey_file = "k"\nkey_store = "p12"\nkey_store_password_file = "pw"\n'
    )
    settings = load(text, "vortexd.toml", BASE)
    defaults = load(SOURCE, "vortexd.toml", BASE)

    assert ("/etc/vortexd/c.pem", "/k.pem", "$CREDENTIALS_DIRECTORY/ca.pem") == (
        settings.tls.certificate,
        settings.tls.key,
        settings.tls.client_ca,
    )
    assert ("/etc/vortexd/hook", "/etc/vortexd/state") == (settings.monitor.secret, settings.server.state_directory)
    assert ("/etc/vortexd/a", "/b", "$CREDENTIALS_DIRECTORY/c") == settings.auth.tokens
    assert ("/etc/vortexd/s", "/etc/vortexd/j") == (settings.auth.jwt_secret, settings.auth.jwks)
    assert ["/etc/vortexd/k", "/etc/vortexd/p12", "/etc/vortexd/pw"] == [
        settings.encryption.key_file,
        settings.encryption.key_store,
        settings.encryption.key_store_password_file,
    ]
    assert attrs.evolve(Settings(), source=(FilesSettings(path="/etc/vortexd/config"),)) == defaults


def test_the_command_line_replaces_addresses_and_the_format_of_the_log() -> None:
    before = load(SOURCE, "vortexd.toml", BASE)

    changed = override(before, bind=["127.0.0.1:1", "unix:/run/x"], log_format="json")

    assert (("127.0.0.1:1", "unix:/run/x"), "json") == (changed.server.bind, changed.log.format)
    assert before == attrs.evolve(changed, server=before.server, log=before.log)
    assert before == override(before)


def test_each_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(SettingsError) as caught:
        override(Settings(), bind=["unix:/run/x", "nowhere", "unix:/run/x"], log_format="loud")

    assert "command line" == caught.value.origin
    assert {
        "--bind nowhere": "must be an address: host:port, [::1]:port or unix:/path; the port is missing",
        "--bind unix:/run/x": "is listed twice; remove one",
        "--log-format": 'must be "auto" or "json" or "console"',
    } == dict(caught.value.problems)


def test_the_program_of_a_gate_is_beside_the_settings_if_it_has_a_slash(tmp_path: Path) -> None:
    text = "".join(
        f"[[gate]]\ncommand = [{name!r}, 'x/y']\n" for name in ("./judge", "bin/judge", "/bin/judge", "judge")
    )
    settings, problems = examine(text, "x", tmp_path, needs_source=False)

    paths = [str(tmp_path / "judge"), str(tmp_path / "bin/judge"), "/bin/judge", "judge"]
    assert ([], [(path, "x/y") for path in paths]) == (problems, [each.command for each in settings.gate])
