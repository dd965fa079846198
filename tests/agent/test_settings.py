"""agent.toml: which mistakes are refused and with which text; the sample and the man page agree with the settings."""

import re
from pathlib import Path

import attrs
import pytest

from vortexd.agent.settings import AgentSettings, HookSettings, ServerSettings, TemplateSettings
from vortexd.agent.settings_file import load
from vortexd.core.errors import SettingsError
from vortexd.settings.log import LogSettings

ROOT = Path(__file__).parents[2]
BASE = Path("/etc/vortexd")
TEMPLATE = '[[template]]\napplication = "shop"\nsource = "app.j2"\ntarget = "/etc/app.conf"\n'
HOOK = '[[hook]]\napplication = "shop"\n'
SECTIONS = {
    "[server]": ServerSettings,
    "[agent]": AgentSettings,
    "[[template]]": TemplateSettings,
    "[[hook]]": HookSettings,
    "[log]": LogSettings,
}


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(text, "agent.toml", BASE)
    return dict(caught.value.problems)


def test_the_sample_holds_the_defaults_and_every_key() -> None:
    sample = (ROOT / "conf/agent.toml.example").read_text()
    whole = load(re.sub(r"^# (\[+\w+\]+|\w+ = .+)$", r"\1", sample, flags=re.MULTILINE), "agent.toml", BASE)

    assert (ServerSettings(), AgentSettings(), LogSettings()) == (whole.server, whole.agent, whole.log)
    load(sample, "agent.toml", BASE)
    for heading, section in SECTIONS.items():
        start = sample.index(heading)
        for field in attrs.fields(section):
            if section is not HookSettings:
                assert re.search(rf"^(?:# )?{field.name} = ", sample[start:], re.MULTILINE), (heading, field.name)


def test_the_sample_holds_the_defaults_of_templates() -> None:
    text = (ROOT / "conf/agent.toml.example").read_text()
    sample = text[text.index("[[template]]") : text.index("[[hook]]")]
    commented = "\n".join(re.findall(r"^# (\w+ = .+)$", sample, re.MULTILINE))
    given = ["application", "source", "target", "check", "reload"]
    kept = "\n".join(line for line in commented.splitlines() if line.partition(" ")[0] not in given)
    settings = load(f"{TEMPLATE}{kept}\n", "agent.toml", BASE)

    assert load(TEMPLATE, "agent.toml", BASE) == settings


def test_every_key_is_on_the_page() -> None:
    page = (ROOT / "man/vortexctl-agent.toml.5").read_text()
    for section in SECTIONS.values():
        for field in attrs.fields(section):
            assert re.search(rf"^\.It Ic {field.name}\b", page, re.MULTILINE), field.name


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (HOOK + 'post = "http://user:secret@x/"\n', "hook[0].post", "without a password"),
        (HOOK + 'post = "http://[x/"\n', "hook[0].post", "an http:// or https:// address"),
        (HOOK + 'post = "http://x:0/"\n', "hook[0].post", "an http:// or https:// address"),
        (HOOK.replace("shop", "../x"), "hook[0].application", "the name of an application"),
        (HOOK + 'profile = "a,"\n', "hook[0].profile", "the name of a profile"),
        (HOOK + 'signal = "KILL"\n', "hook[0].signal", "the name of a signal"),
        ('[server]\nurl = ["ftp://x"]\n', "server.url[0]", "the address of a server"),
        (TEMPLATE + 'owner = "-x"\n', "template[0].owner", "the name or number of a user"),
        (TEMPLATE + 'environment = ["A-B"]\n', "template[0].environment[0]", "the name of a variable"),
        (TEMPLATE + 'mode = "0666"\n', "template[0].mode", "not writable by everybody"),
    ],
)
def test_a_value_that_a_key_does_not_allow_is_refused(text: str, key: str, said: str) -> None:
    assert said in problems(text)[key]
