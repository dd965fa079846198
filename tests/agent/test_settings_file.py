"""Reading agent.toml: the defaults, all problems at once with their texts, and where paths start."""

from pathlib import Path

import pytest

from vortexd.agent.settings import AgentSettings, HookSettings, ServerSettings, Settings, TemplateSettings
from vortexd.agent.settings_file import load
from vortexd.core.errors import SettingsError
from vortexd.settings.log import LogSettings

BASE = Path("/etc/vortexd")
TEMPLATE = '[[template]]\napplication = "shop"\nsource = "app.j2"\ntarget = "/etc/app.conf"\n'
HOOK = '[[hook]]\napplication = "shop"\n'
RELOAD = HOOK + 'reload = ["a"]\n'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(text, "agent.toml", BASE)
    assert "agent.toml" == caught.value.origin
    found = caught.value.problems
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_smallest_file_has_the_defaults() -> None:
    settings = load(TEMPLATE, "agent.toml", BASE)

    template = TemplateSettings(application="shop", source="/etc/vortexd/app.j2", target="/etc/app.conf")
    assert Settings(template=(template,)) == settings


def test_every_section_is_read() -> None:
    text = (
        '[server]\nurl = ["ws://a:1"]\n[agent]\nlast_known_good = true\n[log]\nformat = "console"\n'
        f'{TEMPLATE}{RELOAD}{HOOK}post = "http://127.0.0.1/"\n'
    )
    settings = load(text, "agent.toml", BASE)

    assert (("ws://a:1",), True, "console") == (
        settings.server.url,
        settings.agent.last_known_good,
        settings.log.format,
    )
    assert (1, [("a",), ()]) == (len(settings.template), [each.reload for each in settings.hook])


def test_without_a_section_its_defaults_apply() -> None:
    settings = load(RELOAD, "agent.toml", BASE)

    assert (ServerSettings(), AgentSettings(), LogSettings(), ()) == (
        settings.server,
        settings.agent,
        settings.log,
        settings.template,
    )
    assert (HookSettings(application="shop", reload=("a",)),) == settings.hook


def test_a_text_that_is_not_toml_is_refused() -> None:
    assert "isn't valid TOML" in problems("[server\n")[""]


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("template = 1\n", "template", "must be an array of tables, headed [[template]], not a whole number"),
        ("hook = {}\n", "hook", "must be an array of tables, headed [[hook]], not a table"),
        ("hook = [1]\n", "hook[0]", "must be a table, not a whole number"),
        (f"server = 1\n{TEMPLATE}", "server", "must be a table, not a whole number"),
        (f"[server]\nurl = 1\n{TEMPLATE}", "server.url", "must be a list of text, not a whole number"),
        (f"{TEMPLATE}signal = 1\n", "template[0].signal", "or empty, not a whole number"),
        (f"{HOOK}reload = 1\n", "hook[0].reload", "must be a list of text, not a whole number"),
        (f"{RELOAD}quiet_period = true\n", "hook[0].quiet_period", "must be a number of seconds"),
        (f"{TEMPLATE}target = 2\n".replace('target = "/etc/app.conf"\n', ""), "template[0].target", "must be"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_problem(text: str, key: str, problem: str) -> None:
    assert problem in problems(text)[key]


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (f"{RELOAD}url = []\n", "hook[0].url", "belongs to [server]"),
        (f"{RELOAD}state_directory = 1\n", "hook[0].state_directory", "belongs to [agent]"),
        (f"{RELOAD}format = 1\n", "hook[0].format", "belongs to [log]"),
        (f"{RELOAD}target = 1\n", "hook[0].target", "belongs to [[template]]"),
        (f"[agent]\npid_file = 1\n{RELOAD}", "agent.pid_file", "belongs to [[hook]]"),
    ],
)
def test_a_key_of_another_section_is_refused_with_the_section_where_it_belongs(
    text: str, key: str, problem: str
) -> None:
    assert problem in problems(text)[key]


def test_a_key_of_no_section_is_refused_without_a_section() -> None:
    assert "belongs" not in problems(f"{RELOAD}colour = 1\n")["hook[0].colour"]


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
        (TEMPLATE + 'shell = true\ncheck = ["nginx -t -c {file}"]\n', "template[0].check[0]", "$VORTEXD_FILE"),
        (TEMPLATE + TEMPLATE.replace("/etc/app", "/etc/./app"), "template[1].target", "twice"),
        (TEMPLATE + 'max_wait = 0.5\n', "template[0].max_wait", "quiet_period"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str, key: str, said: str) -> None:
    assert said in problems(text)[key]


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("", "", "must have a [[template]] or a [[hook]]; without one the agent has nothing to do"),
        ("template = []\nhook = []\n", "", "must have a [[template]] or a [[hook]]; without one the agent has nothing to do"),
        (f"[server]\nurl = []\n{RELOAD}", "server.url", "must name at least one address"),
        ("[[hook]]\nreload = ['a']\n", "hook[0].application", "is required: the application whose configuration to follow"),
        ("[[template]]\napplication = 'a'\ntarget = 'a'\n", "template[0].source", "is required: the template to render"),
        ("[[template]]\napplication = 'a'\nsource = 'a'\n", "template[0].target", "is required: the file to write"),
        (HOOK, "hook[0].reload", "is required, or signal or post: the action to run"),
        (f"{RELOAD}signal = 'HUP'\npid_file = 'x'\n", "hook[0].signal", "can't be combined with reload; keep one"),
        (f"{RELOAD}post = 'http://x/'\n", "hook[0].post", "can't be combined with reload; keep one"),
        (f"{HOOK}signal = 'HUP'\npid_file = 'x'\npost = 'http://x/'\n", "hook[0].post", "can't be combined with signal; keep one"),
        (f"{HOOK}signal = 'HUP'\n", "hook[0].pid_file", "is required with signal"),
        (f"{RELOAD}pid_file = 'x'\n", "hook[0].pid_file", "has no effect without signal"),
        (f"{RELOAD}authorization_file = 'x'\n", "hook[0].authorization_file", "has no effect without post"),
        (f"{HOOK}reload = ['', 'b']\n", "hook[0].reload[0]", "must not be empty; it names the program"),
        (f"{TEMPLATE}check = ['']\n", "template[0].check[0]", "must not be empty; it names the program"),
        (f"{HOOK}shell = true\nreload = ['a', 'b']\n", "hook[0].reload", "must be a single text if shell = true"),
        (f"{TEMPLATE}shell = true\ncheck = ['a', 'b']\n", "template[0].check", "must be a single text if shell = true"),
        (
            f"{TEMPLATE}shell = true\ncheck = ['a {{file}}']\n",
            "template[0].check[0]",
            'must not contain {file} in a text for the shell; write "$VORTEXD_FILE"',
        ),
        (f"{RELOAD}max_wait = 0.9\n", "hook[0].max_wait", "must not be less than quiet_period"),
        (f"{RELOAD}quiet_period = 10.1\n", "hook[0].max_wait", "must not be less than quiet_period"),
        (f"{TEMPLATE}quiet_period = 3\nmax_wait = 2\n", "template[0].max_wait", "must not be less than quiet_period"),
        (TEMPLATE + TEMPLATE, "template[1].target", "occurs twice; each file may have one template only"),
    ],
)  # fmt: skip
def test_a_problem_between_keys_is_one_problem_with_its_text(text: str, key: str, problem: str) -> None:
    assert {key: problem} == problems(text)


@pytest.mark.parametrize(
    "text",
    [
        TEMPLATE,
        f"{RELOAD}quiet_period = 10\n",
        f"{RELOAD}quiet_period = 2\nmax_wait = 2\n",
        f"{HOOK}reload = ['a', '']\n",
        f"{HOOK}reload = ['a', '{{file}}']\n",
        f"{HOOK}reload = ['a b']\nshell = true\n",
        f"{TEMPLATE}check = ['a', '{{file}}']\n",
        f"{HOOK}signal = 'HUP'\npid_file = 'x'\n",
        f"{HOOK}post = 'http://x/'\nauthorization_file = 'x'\n",
        f"{TEMPLATE}signal = 'HUP'\npid_file = 'x'\n",
        TEMPLATE + TEMPLATE.replace("app.conf", "other.conf"),
        RELOAD + RELOAD,
    ],
)
def test_keys_that_agree_are_accepted(text: str) -> None:
    settings = load(text, "agent.toml", BASE)

    assert settings.template or settings.hook


def test_two_spellings_of_one_target_are_one_file() -> None:
    relative = TEMPLATE.replace("/etc/app.conf", "../app.conf")

    assert ["template[1].target"] == list(problems(TEMPLATE + relative))
    assert ["template[2].target"] == list(problems(TEMPLATE.replace("app.conf", "x") + TEMPLATE + relative))


@pytest.mark.parametrize("value", ['"x"', "true", "[]"])
@pytest.mark.parametrize("name", ["quiet_period", "max_wait"])
def test_a_duration_of_the_wrong_type_is_not_compared(name: str, value: str) -> None:
    assert [f"hook[0].{name}"] == list(problems(f"{RELOAD}{name} = {value}\n"))


def test_several_texts_for_the_shell_are_one_problem_whatever_the_later_ones_hold() -> None:
    assert ["template[0].check"] == list(problems(f"{TEMPLATE}shell = true\ncheck = ['a', '{{file}}']\n"))


def test_a_mistake_does_not_hide_a_problem_between_keys() -> None:
    assert ["server.colour", "template[0].source", "template[0].target", "hook[0].pid_file"] == list(
        problems("[server]\ncolour = 1\n[[template]]\napplication = 'a'\n" + HOOK + "signal = 'HUP'\n")
    )


def test_a_value_of_the_wrong_type_is_not_repeated() -> None:
    assert "hunter2" not in str(problems(f'{TEMPLATE}check_timeout = "hunter2"\n'))


def test_relative_paths_start_at_the_file_and_credentials_are_systemds() -> None:
    text = f'[server]\ntoken_file = "$CREDENTIALS_DIRECTORY/token"\n[agent]\nstate_directory = "state"\n{TEMPLATE}'
    settings = load(text, "agent.toml", BASE)

    assert "$CREDENTIALS_DIRECTORY/token" == settings.server.token_file
    assert "/etc/vortexd/state" == settings.agent.state_directory


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("a", "/etc/vortexd/a"),
        ("../a/./b", "/etc/a/b"),
        ("/run/a", "/run/a"),
        ("$CREDENTIALS_DIRECTORY/a", "$CREDENTIALS_DIRECTORY/a"),
    ],
)
def test_each_path_starts_at_the_directory_of_the_file(path: str, expected: str) -> None:
    text = (
        f'[server]\ntoken_file = "{path}"\nca_file = "{path}"\n[agent]\nstate_directory = "{path}"\n'
        f'[[template]]\napplication = "a"\nsource = "{path or "s"}"\ntarget = "{path or "t"}"\n'
        f'{HOOK}post = "http://x/"\nauthorization_file = "{path}"\n'
        f'{HOOK}signal = "HUP"\npid_file = "{path or "p"}"\n'
    )
    settings = load(text, "agent.toml", BASE)

    assert {expected} == {
        settings.server.token_file,
        settings.server.ca_file,
        settings.agent.state_directory,
        settings.hook[0].authorization_file,
    }
    assert {expected or f"/etc/vortexd/{name}" for name in "stp"} == {
        settings.template[0].source,
        settings.template[0].target,
        settings.hook[1].pid_file,
    }
