"""Several labels at once, for each kind of source, as in Spring."""

from collections.abc import Sequence

from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.resolve.labels import layers_of
from vortexd.resolve.spring import property_sources
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

KEY = Key("shop", "dev", "a,b")


def parsed(*files: Files) -> list[ParsedFiles]:
    labels = {str(number): each for number, each in enumerate(files)}
    return list(parse_tree(Tree(labels), FormatSettings()).labels.values())


def commit(root: str = "https://git.example/c/", **contents: bytes) -> Files:
    files = {name.replace("_", "-") + ".yml": content for name, content in contents.items()}
    return Files(files, root=root, origin=Origin("c0ffee", "Ann", "2030-01-01T00:00:00Z"))


def directory(label: str, **contents: bytes) -> Files:
    shared = {"shop.yml": b"from: top", "shop-dev.yml": b"from: top-dev"}
    own = {f"{label}/{name.replace('_', '-')}.yml": content for name, content in contents.items()}
    return Files(shared | own, root="file:/c/", locations=("", f"{label}/"))


def values(layers: Sequence[Sequence[ParsedFiles]]) -> list[object]:
    return [source.values["from"] for source in property_sources(layers_of(layers), KEY)]


def test_of_commits_the_last_label_is_the_strongest_and_each_is_a_whole() -> None:
    one, two = parsed(commit(shop=b"from: a", shop_dev=b"from: a-dev"), commit(shop=b"from: b"))

    assert ["b", "a-dev", "a"] == values([[one], [two]])


def test_of_directories_the_first_label_is_the_strongest_and_they_are_searched_together() -> None:
    one, two = parsed(directory("a", shop=b"from: a", shop_dev=b"from: a-dev"), directory("b", shop=b"from: b"))

    assert ["a-dev", "top-dev", "a", "b", "top"] == values([[one], [two]])


def test_a_stronger_source_stays_the_stronger_one() -> None:
    strong, weak = "https://git.example/strong/", "https://git.example/weak/"
    layers = parsed(
        commit(strong, shop=b"from: strong a"),
        commit(weak, shop=b"from: weak a"),
        commit(strong, shop=b"from: strong b"),
        commit(weak, shop=b"from: weak b"),
    )

    assert ["strong b", "strong a", "weak b", "weak a"] == values([layers[:2], layers[2:]])


def test_one_label_is_as_it_is() -> None:
    [layer] = parsed(commit(shop=b"from: a"))

    assert [layer] == list(layers_of([[layer]]))
