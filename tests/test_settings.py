"""Settings: what the sample file says, and what is refused."""

import re
from pathlib import Path

import attrs
import pytest

from vortexd.errors import SettingsError
from vortexd.settings import Address, Settings, SourceSettings, parse_address
from vortexd.settings_file import load, override

ROOT = Path(__file__).parent.parent
BASE = Path("/etc/vortexd")
SOURCE = '[[source]]\npath = "config"\n'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(text, "vortexd.toml", BASE)
    return dict(caught.value.problems)


def sections() -> list[tuple[str, type]]:
    return [
        (field.name, SourceSettings if field.name == "source" else type(getattr(Settings(), field.name)))
        for field in attrs.fields(Settings)
    ]


def test_the_sample_file_holds_the_defaults_of_the_code() -> None:
    sample = (ROOT / "conf/vortexd.toml").read_text()
    uncommented = re.sub(r"^# (\w+ = .+)$", r"\1", sample, flags=re.MULTILINE)
    settings = load(uncommented, "vortexd.toml", BASE)

    assert Settings(source=(SourceSettings(path="/etc/vortexd/config"),)) == settings
    assert settings == load(sample, "vortexd.toml", BASE)


@pytest.mark.parametrize("name", ["conf/vortexd.toml", "man/vortexd.toml.5"])
def test_every_key_is_documented(name: str) -> None:
    text = (ROOT / name).read_text()
    for section, settings in sections():
        start = text.index(f"[{section}]")
        for field in attrs.fields(settings):
            assert re.search(rf"^(?:# |\.It Ic )?{field.name}\b", text[start:], re.MULTILINE), (section, field.name)


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


def test_two_sources_are_refused_in_words() -> None:
    assert any("one" in text for text in problems(SOURCE + SOURCE).values())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8888", Address("127.0.0.1", 8888)),
        ("[::1]:0", Address("::1", 0)),
        ("localhost:80", Address("localhost", 80)),
        ("unix:/run/vortexd", Address(path="/run/vortexd")),
    ],
)
def test_an_address_reads_as_it_prints(text: str, address: Address) -> None:
    assert address == parse_address(text)
    assert text == str(address)


@pytest.mark.parametrize(
    "text", ["", ":80", "*:80", "localhost", "localhost:x", "localhost:65536", "unix:", "unix:run", "::1:80"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must|is|has"):
        parse_address(text)


def test_the_command_line_is_checked_like_the_file() -> None:
    settings = load(SOURCE, "vortexd.toml", BASE)

    with pytest.raises(SettingsError) as caught:
        override(settings, bind=["nowhere"], log_format="loud")
    assert 2 == len(caught.value.problems)
