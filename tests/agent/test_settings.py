"""agent.toml: which mistakes are refused and with which text; the sample and the man page agree with the settings."""

import re
from pathlib import Path

import attrs
import pytest

from vortexd.agent.settings import AgentSettings, HookSettings, ServerSettings, Settings, TemplateSettings
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


def test_the_smallest_file_has_the_defaults() -> None:
    settings = load(TEMPLATE, "agent.toml", BASE)

    template = TemplateSettings(application="shop", source="/etc/vortexd/app.j2", target="/etc/app.conf")
    assert Settings(template=(template,)) == settings


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


def test_all_problems_come_at_once_each_with_its_key() -> None:
    found = problems(
        '[server]\nurl = ["ftp://x", "ws://u:p@x"]\ninstanc = "x"\n[agent]\nreport_stderr = 1\n'
        '[[template]]\nmode = "666"\ncheck_timeout = 0\nquiet_period = 20\nenvironment = ["A-B"]\n'
        '[[hook]]\napplication = "../x"\nsignal = "KILL"\ncheck = []\n'
    )

    assert {
        "server.url[0]",
        "server.url[1]",
        "server.instanc",
        "agent.report_stderr",
        "template[0].mode",
        "template[0].check_timeout",
        "template[0].environment[0]",
        "template[0].application",
        "template[0].source",
        "template[0].target",
        "template[0].max_wait",
        "hook[0].application",
        "hook[0].signal",
        "hook[0].pid_file",
        "hook[0].check",
    } == set(found)
    assert "instance" in found["server.instanc"]
    assert "belongs to [[template]]" in found["hook[0].check"]


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("", "", "nothing to do"),
        ("[server]\nurl = []\n" + TEMPLATE, "server.url", "at least one"),
        (HOOK, "hook[0].reload", "the action to run"),
        (HOOK + 'reload = ["a"]\npost = "http://x/"\n', "hook[0].post", "combined with reload"),
        (HOOK + 'signal = "HUP"\n', "hook[0].pid_file", "is required"),
        (HOOK + 'reload = ["a"]\npid_file = "x"\n', "hook[0].pid_file", "without signal"),
        (HOOK + 'reload = ["a"]\nauthorization_file = "x"\n', "hook[0].authorization_file", "without post"),
        (HOOK + 'reload = ["a", "b"]\nshell = true\n', "hook[0].reload", "a single text"),
        (HOOK + 'reload = [""]\n', "hook[0].reload[0]", "the program"),
        (HOOK + 'post = "http://user:secret@x/"\n', "hook[0].post", "without a password"),
        (TEMPLATE + 'shell = true\ncheck = ["nginx -t -c {file}"]\n', "template[0].check[0]", "$VORTEXD_FILE"),
        (TEMPLATE + TEMPLATE.replace("/etc/app", "/etc/./app"), "template[1].target", "twice"),
        (TEMPLATE + 'mode = "0666"\n', "template[0].mode", "not writable by everybody"),
        (TEMPLATE + 'max_wait = 0.5\n', "template[0].max_wait", "quiet_period"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str, key: str, said: str) -> None:
    assert said in problems(text)[key]


def test_a_value_of_the_wrong_type_is_not_repeated() -> None:
    assert "hunter2" not in str(problems(f'{TEMPLATE}check_timeout = "hunter2"\n'))


def test_relative_paths_start_at_the_file_and_credentials_are_systemds() -> None:
    text = f'[server]\ntoken_file = "$CREDENTIALS_DIRECTORY/token"\n[agent]\nstate_directory = "state"\n{TEMPLATE}'
    settings = load(text, "agent.toml", BASE)

    assert "$CREDENTIALS_DIRECTORY/token" == settings.server.token_file
    assert "/etc/vortexd/state" == settings.agent.state_directory
