"""Templates: which names they can use, and how their errors read."""

from pathlib import Path
from typing import Any

import pytest

from vortexd.agent import rendering
from vortexd.agent.rendering import RenderError, Scope, render
from vortexd.core.errors import SettingsError


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    return tmp_path


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        raise SettingsError([("", "can't be read")], str(path)) from None


def rendered(directory: Path, text: str, config: dict[str, Any] | None = None, max_bytes: int = 1_000) -> str:
    (directory / "main.j2").write_text(text)
    scope = Scope(config or {}, "v1", "shop", "prod", "main", {"HOME": "/root"})
    return render(directory / "main.j2", scope, max_bytes, read).decode()


def refusal(directory: Path, text: str, config: dict[str, Any] | None = None) -> str:
    with pytest.raises(RenderError) as caught:
        rendered(directory, text, config)
    return str(caught.value)


def test_a_template_sees_the_document_and_what_it_is_of(templates: Path) -> None:
    text = "{{ config.pool.size }} {{ config['max-wait'] }} {{ version }} {{ app }}/{{ profile }}/{{ label }} {{ env.HOME }}\n"

    assert "3 1.5 v1 shop/prod/main /root\n" == rendered(templates, text, {"pool": {"size": 3}, "max-wait": 1.5})


def test_values_are_written_as_configuration_writes_them(templates: Path) -> None:
    assert "true  <b>&'\n" == rendered(
        templates, "{{ config.a }} {{ config.b }} {{ config.c }}\n", {"a": True, "b": None, "c": "<b>&'"}
    )


def test_a_key_wins_over_a_method_of_that_name(templates: Path) -> None:
    assert "x" == rendered(templates, "{{ config.items }}", {"items": "x"})
    assert "a=1;" == rendered(templates, "{% for k, v in config.items() %}{{ k }}={{ v }};{% endfor %}", {"a": 1})


def test_what_is_missing_is_named_with_file_and_line(templates: Path) -> None:
    for text, name in [
        ("one\n{{ config.pool.size }}\n", "size"),
        ("one\n{{ nothing }}", "nothing"),
        ("one\n{{ config.none.at.all }}", "none"),
        ("one\n{{ env.PATH }}", "PATH"),
        ("one\n{% for each in config.list %}{% endfor %}", "list"),
        ("one\n{% if config.switch %}{% endif %}", "switch"),
    ]:
        assert refusal(templates, text, {"pool": {}}).startswith(
            f"{templates}/main.j2:2: {name} isn't in the configuration"
        )


def test_a_default_stands_for_what_is_missing(templates: Path) -> None:
    assert "7" == rendered(templates, "{{ config.size | default(7) }}")


def test_an_error_in_an_included_template_names_that_one(templates: Path) -> None:
    (templates / "part.j2").write_text("\n\n{{ config.missing }}")

    assert refusal(templates, "{% include 'part.j2' %}").startswith(f"{templates}/part.j2:3: missing")


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "nothing", "a/../../b"])
def test_a_template_reads_no_file_outside_of_its_directory(templates: Path, name: str) -> None:
    (templates.parent / "other").write_text("secret")

    assert "secret" not in refusal(templates, f"{{% include '{name}' %}}")


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__",
        "config.__class__",
        "config.update({'a': 1})",
        "config.pop('a')",
        "cycler.__init__.__globals__",
        "lipsum()",
        "self.__init__",
        "range(10000000)",
        "'%s'.format_map",
    ],
)
def test_a_template_only_computes(templates: Path, expression: str) -> None:
    assert (
        f"{templates}/main.j2:1: "
        == refusal(templates, f"{{{{ {expression} }}}}", {"a": 1})[: len(f"{templates}/main.j2:1: ")]
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ config.password + 1 }}",
        "{{ config[config.password] }}",
        "{{ config.password | json.x }}",
        "{{ 1 // (config.password | length - 7) }}",
        "{{ config.password.nope }}",
        "{{ '%d' % config.password }}",
        "{{ {}[config.password] }}",
        "{% include config.password %}",
        "{{ [config.password] }}",
        "{{ range(1)[config.password] }}",
    ],
)
def test_no_error_repeats_a_value(templates: Path, text: str) -> None:
    assert "hunter2" not in refusal(templates, text, {"password": "hunter2"})


def test_a_list_is_not_written_as_python_has_it(templates: Path) -> None:
    assert "choose a filter" in refusal(templates, "{{ config.hosts }}", {"hosts": ["a"]})


def test_a_syntax_error_has_its_line(templates: Path) -> None:
    assert refusal(templates, "one\n{% if %}").startswith(f"{templates}/main.j2:2: ")


def test_a_file_has_its_size(templates: Path) -> None:
    assert "max_bytes" in refusal(templates, "{% for i in range(2000) %}x{% endfor %}")
    assert "max_bytes" in refusal(templates, "{{ 'x' * 2000 }}")


def test_templates_without_end_are_an_error(templates: Path) -> None:
    assert "without end" in refusal(templates, "{% include 'main.j2' %}")


def test_the_document_of_one_rendering_is_as_it_was(templates: Path) -> None:
    config = {"list": [1]}
    refusal(templates, "{% set x = config.list.append(2) %}", config)

    assert {"list": [1]} == config


def test_memory_that_is_not_there_is_an_error_of_the_template(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise MemoryError

    monkeypatch.setattr(rendering, "text_of", fail)
    assert f"{templates}/main.j2:2: uses more memory than a template may use" == refusal(templates, "\n{{ 1 }}")
