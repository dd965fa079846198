"""The header that names broken files."""

import pytest

from vortexd.core.broken_files import at_fault, broken_headers
from vortexd.core.errors import FormatError, ResolveError
from vortexd.core.model import BrokenFile, Key, Served


def broken(path: str, line: int | None = 3, served: Served = Served.LAST_GOOD) -> BrokenFile:
    return BrokenFile("main", "file:/c/", path, line, None, "reason", served)


def test_where_nothing_is_broken_there_is_no_header() -> None:
    assert {} == broken_headers([])


@pytest.mark.parametrize(
    ("file", "item"),
    [
        (broken("a/shop.yml"), '"a/shop.yml";line=3;served=last_good'),
        (broken("shop.yml", None, Served.WITHOUT), '"shop.yml";served=without'),
        (broken("shop.yml", 1, Served.NOTHING), '"shop.yml";line=1;served=nothing'),
        (broken('a "b"\\.yml', 1), '"a %22b%22%5C.yml";line=1;served=last_good'),
        (broken("größe.yml", 1), '"gr%C3%B6%C3%9Fe.yml";line=1;served=last_good'),
        (broken("a\r\nb.yml", 1), '"a%0D%0Ab.yml";line=1;served=last_good'),
        (broken("x" * 300, 1), f'"{"x" * 256}";line=1;served=last_good'),
        (broken("x" * 251 + "ä", 1), f'"{"x" * 251}";line=1;served=last_good'),
        (broken("x" * 250 + "ä", 1), f'"{"x" * 250}%C3%A4";line=1;served=last_good'),
    ],
)
def test_the_header_is_a_list_of_strings_with_parameters(file: BrokenFile, item: str) -> None:
    assert {"X-Vortex-Broken": item} == broken_headers([file])


def test_the_header_names_the_first_eight() -> None:
    found = broken_headers([broken(f"{number}.yml", None) for number in range(9)])["X-Vortex-Broken"]

    assert [f'"{number}.yml";served=last_good' for number in range(8)] == found.split(", ")


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (FormatError("a/shop.yml", "why", 3, 1), {"X-Vortex-Broken": '"a/shop.yml";line=3;served=nothing'}),
        (FormatError("shop.yml", "why"), {"X-Vortex-Broken": '"shop.yml";served=nothing'}),
        (ResolveError("why", "shop.yml"), {"X-Vortex-Broken": '"shop.yml";served=nothing'}),
        (ResolveError("why"), {}),
    ],
)
def test_the_file_of_an_error_is_named_if_there_is_one(
    error: FormatError | ResolveError, header: dict[str, str]
) -> None:
    assert header == broken_headers(at_fault(error, Key("shop", "dev", "main")))
