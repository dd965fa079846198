"""The sample file and the manual page describe each setting with the text of its field."""

import re
import runpy
from pathlib import Path

import attrs
import pytest

from vortexd.core.constraints import seconds, setting, text_of, texts, whole
from vortexd.settings import root, sample
from vortexd.settings.realtime import RealtimeSettings
from vortexd.settings.root import SECTIONS
from vortexd.settings.sample import literal, render
from vortexd.source.kinds import KINDS

ROOT = Path(__file__).parents[2]
FIELDS = [(title, field) for title, kind in {**SECTIONS, **KINDS}.items() for field in attrs.fields(kind) if field.init]
SCRIPT = runpy.run_path(str(ROOT / "packaging" / "write_settings.py"))
mdoc = SCRIPT["mdoc"]


def test_the_sample_file_is_made_of_the_settings() -> None:
    remedy = "run .venv/bin/vortexd --print-config > conf/vortexd.toml"
    assert render(KINDS) == (ROOT / "conf" / "vortexd.toml").read_text(), remedy


def test_the_page_is_made_of_the_settings() -> None:
    page = (ROOT / "man" / "vortexd.toml.5").read_text()

    assert SCRIPT["written"](page) == page, "run .venv/bin/python packaging/write_settings.py"


def test_a_page_without_a_part_is_refused_by_name() -> None:
    page = (ROOT / "man" / "vortexd.toml.5").read_text()

    with pytest.raises(SystemExit, match="no part tls"):
        SCRIPT["written"](page.replace('.\\" End of tls\n', ""))


@pytest.mark.parametrize(("title", "field"), FIELDS, ids=[f"{title}.{field.name}" for title, field in FIELDS])
def test_every_setting_has_a_text_of_whole_sentences(title: str, field: "attrs.Attribute[object]") -> None:
    text = text_of(field)

    assert text.doc.endswith(".")
    assert not text.more or text.more.endswith(".")
    assert re.match(r'[A-Z"]', text.doc)


@pytest.mark.parametrize("title", [*(field.name for field in attrs.fields(root.Settings))])
def test_every_section_has_a_text(title: str) -> None:
    assert text_of(getattr(attrs.fields(root.Settings), title)).doc.endswith(".")


@attrs.frozen
class Cat:
    """[[source]] of kind "cat": An animal."""

    kind: str = setting("cat", doc="The kind.")
    name: str = setting("", doc="Its name.", example='"Tom"')
    lives: int = whole(12_000, 1, doc="How many. " + "It has many. " * 9, restart=True)


@attrs.frozen
class Dog:
    """[[source]] of kind "dog": Another animal."""

    kind: str = setting("dog", doc="The kind.")
    toys: tuple[str, ...] = texts("a toy", bool, "ball", 'a "bone\\', doc="Its toys.")
    is_good: bool = setting(True, doc="Whether it is.")
    pause: float = seconds(1.5, doc="Seconds.")


def test_the_first_kind_is_shown_and_the_others_are_comments() -> None:
    text = render({"cat": Cat, "dog": Dog})
    shown = text[text.index("[[source]]") : text.index("[formats]")]

    assert (
        '[[source]]\n\n# The kind.\nkind = "cat"  # reload\n\n# Its name.\nname = "Tom"  # reload\n\n# How many.'
        in shown
    )
    assert "\n# lives = 12_000  # restart\n" in shown
    assert '# Another animal.\n# [[source]]\n\n# The kind.\n# kind = "dog"  # reload\n' in shown
    assert '# toys = ["ball", "a \\"bone\\\\"]  # reload\n' in shown
    assert "# is_good = true  # reload\n" in shown
    assert "# pause = 1.5  # reload\n" in shown
    assert max(map(len, shown.splitlines())) <= sample._WIDTH + 2


def test_a_default_that_a_word_stands_for_is_that_word() -> None:
    never = attrs.fields(RealtimeSettings).park_after.evolve(default=float("inf"))

    assert '"never"' == literal(never)
    assert "0.5" == literal(attrs.fields(RealtimeSettings).park_after)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("One. Two.", ["One.", "Two."]),
        ("Use `quiet`, or `auth.open`.", ["Use", ".Ic quiet ,", "or", ".Ic auth.open ."]),
        ("Copies (`remember`).", ["Copies", ".Pq Ic remember ."]),
        ("It is (a `b` c).", ["It is (a", ".Ic b", "c)."]),
        ("A `host:port` and `a b`.", ["A", ".Ql host:port", "and", '.Ql "a b" .']),
        ('Say `"x"` or `\\a`.', ["Say", ".Ql \\(dqx\\(dq", "or", ".Ql \\ea ."]),
        ('See "A B" in vortexd(8).', ["See", ".Sx A B", "in", ".Xr vortexd 8 ."]),
        ('See "A B" in vortexd.toml(5) for more.', ["See", ".Sx A B", "for more."]),
        ("Read ssh(1) first.", ["Read", ".Xr ssh 1", "first."]),
        (".hidden files.", ["\\&.hidden files."]),
        ("A back\\slash.", ["A back\\eslash."]),
    ],
)
def test_sentences_become_mdoc(text: str, lines: list[str]) -> None:
    assert lines == [*mdoc(text)]


def test_a_list_says_what_is_required_and_when_it_takes_effect() -> None:
    lines = [*SCRIPT["listed"](Cat)]

    assert [".Bl -tag -width Ds", ".It Ic kind", "The kind.", 'Default: "cat"; reload.'] == lines[:4]
    assert [".It Ic name", "Its name.", "Required; reload.", ".It Ic lives", "How many."] == lines[4:9]
    assert ["Default: 12_000; restart.", ".El"] == lines[-2:]
