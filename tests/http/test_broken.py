"""Reports of broken files over HTTP."""

from tests.http.serving import FilesReader, serving
from vortexd.core.model import BrokenFile, Served
from vortexd.http.broken import unreadable


def broken(path: str, line: int | None = 3, served: Served = Served.LAST_GOOD) -> BrokenFile:
    return BrokenFile("main", "file:/c/", path, line, None, "reason", served)


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
