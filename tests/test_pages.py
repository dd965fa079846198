"""The man pages and the map agree with the code: pages name each other, every event to act on, every path and every module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vortexd
from tests.http.described import whole_document

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vortexd"
PAGES = sorted((ROOT / "man").glob("*.[1-9]"))
# What runs elsewhere than in the daemon, and says what it says to somebody else.
ELSEWHERE = {"client", "agent", "ctl"}


def name_of(page: Path) -> tuple[str, str]:
    return page.suffix[1:], page.stem


def section(page: Path, title: str) -> str:
    return page.read_text().partition(f"\n.Sh {title}\n")[2].partition("\n.Sh ")[0]


def events(*levels: str) -> Iterator[str]:
    """What the daemon logs at these levels."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr=level), args=[ast.Constant(value=str(event)), *_]) if (
                    level in levels and re.search(r"\blog$|get_logger\(\)$", ast.unparse(node.func.value))  # type: ignore[attr-defined]
                ):
                    yield event


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_page_that_a_page_names_exists_and_see_also_is_in_order(page: Path) -> None:
    ours = {name_of(each) for each in PAGES}
    named = re.findall(r"^\.Xr (\S+) (\d)", page.read_text(), re.MULTILINE)
    also = [(number, name) for name, number in re.findall(r"^\.Xr (\S+) (\d)", section(page, "SEE ALSO"), re.MULTILINE)]

    assert set() == {(number, name) for name, number in named if name.startswith("vortex")} - ours
    assert sorted(also) == also
    assert ("8", "vortexd") in {*also, name_of(page)}


def test_the_daemons_page_leads_to_all_others() -> None:
    page = ROOT / "man/vortexd.8"
    also = re.findall(r"^\.Xr (\S+) (\d)", section(page, "SEE ALSO"), re.MULTILINE)

    assert {name_of(each) for each in PAGES if each != page} == {(number, name) for name, number in also}


def test_each_event_that_somebody_has_to_look_at_is_explained_and_no_other() -> None:
    heads = re.findall(r"^\.It (.+)$", section(ROOT / "man/vortexd.8", "DIAGNOSTICS"), re.MULTILINE)

    assert set(events("warning", "error")) == {event for head in heads for event in head.split(" , ")}


def test_each_event_that_the_operators_page_quotes_is_logged() -> None:
    text = (ROOT / "man/vortexd-operations.7").read_text()
    quoted = set(re.findall(r"(?:^\.|Pq )Dq (.+?)(?: [,;.])?$", text, re.MULTILINE))

    assert quoted
    assert set() == quoted - set(events("info", "warning", "error"))


def test_each_path_of_the_http_api_is_on_its_page() -> None:
    page = (ROOT / "man/vortexd-api.7").read_text()
    literal = {path.partition("{")[0].rstrip("/") for path in whole_document()["paths"]} - {""}

    assert len(literal) > 10
    assert set() == {
        path for path in literal if not re.search(rf"^\.(?:It Li|Dl) \S+ {re.escape(path)}\b", page, re.MULTILINE)
    }


def test_every_module_and_package_stands_in_the_map_and_none_that_is_gone() -> None:
    drawn = "\n".join(line for line in (vortexd.__doc__ or "").splitlines() if line.startswith("    "))
    there = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    there |= {path.name + "/" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}

    assert there == set(re.findall(r"\b\w+\.py\b", drawn)) | set(re.findall(r"^    (\w+/)(?= )", drawn, re.MULTILINE))
