"""Reports of broken files over HTTP."""

import pytest

from tests.http.serving import FilesReader, serving
from vortexd.core.model import BrokenFile, Served
from vortexd.http.broken import broken_headers, unreadable


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


def test_an_error_points_to_where_the_file_is_named() -> None:
    known, unknown = unreadable([broken("shop.yml")]), unreadable()

    assert (500, {"X-Vortex-Broken": '"shop.yml";line=3;served=last_good'}) == (known.status, known.headers)
    assert "X-Vortex-Broken, /status and the server's log" in known.reason
    assert ({}, False) == (unknown.headers, "X-Vortex-Broken" in unknown.reason)


async def test_each_form_of_a_configuration_names_the_broken_files_that_its_key_reads() -> None:
    good = {"shop.yml": "a: 1", "shop-dev.yml": "b: 1", "x.txt": "text", "cart.yml": "c: 1"}
    reader = FilesReader(good)
    reader.change(good | {"shop-dev.yml": "b: ["})
    async with serving(reader=reader) as http:
        for target in ("/shop/dev", "/shop-dev.json", "/shop-dev.yml"):
            answer = await http.ask(target)
            known = await http.ask(target, If_None_Match=answer.headers["etag"])

            assert (200, 304) == (answer.status, known.status)
            assert '"shop-dev.yml";line=2;served=last_good' == answer.headers["x-vortex-broken"]
            assert answer.headers["x-vortex-broken"] == known.headers["x-vortex-broken"]
        # A plain file is served as it is, a broken one, too.
        plain = await http.ask("/shop/dev/main/shop-dev.yml")
        assert (200, b"b: [") == (plain.status, plain.body)
        for target in ("/shop/prod", "/cart/dev", "/shop/dev/main/x.txt", "/shop/dev/main/shop-dev.yml"):
            assert "x-vortex-broken" not in (await http.ask(target)).headers


async def test_a_key_that_cannot_be_served_is_a_500_with_the_header_and_the_others_are_served() -> None:
    async with serving(reader=FilesReader({"shop.yml": "a: 1", "shop-dev.yml": "b: ["})) as http:
        failed, served = await http.ask("/shop/dev"), await http.ask("/shop/prod")

    assert (500, 200) == (failed.status, served.status)
    assert '"shop-dev.yml";line=2;served=nothing' == failed.headers["x-vortex-broken"]
    assert b"shop-dev" not in failed.body
