"""Any sequence of publications: each key has the configuration that it would have if everything were resolved anew."""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import attrs
import orjson
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpatch import apply_patch

from tests.examples import examples
from vortexd.core.errors import FormatError, ResolveError, UnknownLabel
from vortexd.core.model import Config, Edits, Files, Key, Origin, PropertySource, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.core.version import version_of
from vortexd.encryption.contract import OneKey, Undecryptable
from vortexd.encryption.decryptor import Decryptor
from vortexd.pipeline import store
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.state import State
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

from ..wiring import Wired


class Backwards:
    """An encryptor whose ciphertexts are the texts backwards."""

    public_key = None

    def encrypt(self, text: str) -> str:
        return text[::-1]

    def decrypt(self, ciphertext: str) -> str:
        if "wrong" in ciphertext:
            raise Undecryptable
        return ciphertext[::-1]


PATHS = (
    "application.yml",
    "application.properties",
    "application-prod.yml",
    "shop.yml",
    "shop-prod.yml",
    "shop.properties",
    "shop-default.yml",
    "cart.json",
    "cart-extra.yml",
    "base.yml",
    "base-prod.yml",
    "deep/base.yml",
    "teams/shop/shop.yml",
    "teams/red/application.yml",
    "cart.txt",
)
YAML = (
    "a: 1",
    "a: '1'",
    "a: 1.0",
    "a: true",
    "a: {b: 1, c: [1, 2]}\nd: x",
    "d: x\na: {b: 1, c: [1, 2]}",
    "a: {b: -0.0}\ne: [1, {f: 2}]",
    "a: {b: 0.0}\ne: [{f: 3}]",
    "a.b: 1\na: 2\nz: {a: 2, b: {a: 2}}",
    "z: {a: 1, b: {a: 1}}\na: 1",
    '"": 1\n".x": 2\n"[0]": 3',
    "e: ['{cipher}terces', plain]\na: '{cipher}wrong'",
    "url: http://${a}/${b:c}\na: 3",
    "spring.config.import: base.yml\na: 4",
    "spring.config.import: [base.yml, deep/base.yml]",
    "a: 5\n---\nspring.config.activate.on-profile: prod\na: 6",
    "spring.profiles.include: extra\na: 7",
    "spring.profiles.group.prod: extra,red",
    "spring.config.activate.on-profile: prod\nspring.profiles.include: extra",  # can't be combined
    "a[10001]: 1",  # an index that is too large
    "g[9000]: 1\nh[9000]: 1",
    "a: [1",
    "",
    "many: {" + ", ".join(f"n{number}: {number}" for number in range(12)) + "}",
)
KEYS = (
    Key("shop", "default", "main"),
    Key("shop", "prod", "main"),
    Key("cart", "default", "main"),
    Key("cart,shop", "prod,red", "main"),
    Key("shop", "prod", "other"),
    Key("shop", "default", "main,other"),
    Key("red", "default", "other"),
    Key("none", "default", "main"),
    Key("shop", "default", "gone"),
)
LOCATIONS = (("",), ("", "deep/"), ("", "teams/{application}/"), ("", "teams/*/"), ("teams/{profile}/", ""))
PATTERNS = tuple(map(parse_pattern, ("*", "shop*:*:main", "none:*", "*:prod:other")))
_labels = st.sampled_from(("main", "other"))
_paths = st.sampled_from(PATHS)
_contents = st.sampled_from(YAML)
_layers = st.sampled_from((0, 0, 0, 1))
STEPS = st.one_of(
    st.tuples(st.just("save"), _labels, _layers, _paths, _contents),
    st.tuples(st.just("save"), _labels, _layers, _paths, _contents),
    st.tuples(st.just("save"), _labels, _layers, _paths, _contents),
    st.tuples(st.just("remove"), _labels, _layers, _paths),
    st.tuples(st.just("rename"), _labels, _layers, _paths, _paths),
    st.tuples(st.just("close"), _labels, _layers, _paths),
    st.tuples(st.just("switch"), _labels, _labels),
    st.tuples(st.just("end"), _labels),
    st.tuples(st.just("second"), st.booleans()),
    st.tuples(st.just("commits"), st.sampled_from((None, 1, 3, 1_000))),
    st.tuples(st.just("rewrite")),
    st.tuples(st.just("locations"), st.sampled_from(LOCATIONS)),
    st.tuples(st.just("decrypt"), st.booleans()),
    st.tuples(st.just("override"), st.sampled_from((None, "a", "z.b"))),
    st.tuples(st.just("limits"), st.sampled_from((10, 100_000))),
    st.tuples(st.just("hold"), st.sampled_from(KEYS)),
    st.tuples(st.just("release"), st.sampled_from(KEYS)),
    st.tuples(st.just("match"), st.sampled_from(PATTERNS)),
    st.tuples(st.just("leave"), st.sampled_from(PATTERNS)),
    st.tuples(st.just("nothing")),
)


class Subscriber:
    """Follows the changes of one key, as a client does."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


class World:
    """Sources that are edited, the pipeline, and what it must serve."""

    def __init__(self) -> None:
        self.wired = Wired()
        self.layers: dict[tuple[str, int], tuple[dict[str, bytes], dict[str, str]]] = {("main", 0): ({}, {})}
        self.has_second = False
        self.locations: tuple[str, ...] = ("",)
        self.depth: int | None = None
        self.commit = 0
        self.edits: dict[str, dict[str, tuple[int, Origin]]] = {}
        self.kept: dict[tuple[str, int], Files] = {}
        self.before: dict[Key, Config | None] = {}
        self.decryptor: Decryptor | None = None
        self.overrides: PropertySource | None = None
        self.held: set[Key] = set()
        self.subscriber = Subscriber()
        # Its patterns bring keys into use.
        self.other = Subscriber()

    # Edits.

    def edit(self, label: str, layer: int, *paths: str) -> tuple[dict[str, bytes], dict[str, str]]:
        """The files of a layer, of which these paths are edited."""
        if (label, 0) not in self.layers:
            self.layers[label, 0] = {}, {}
        contents, reasons = self.layers.get((label, layer), ({}, {}))
        self.layers[label, layer] = dict(contents), dict(reasons)
        self.kept.pop((label, layer), None)
        self.commit += 1
        origin = Origin(f"c{self.commit}", "author", f"{self.commit:04}")
        self.edits[label] = self.edits.get(label, {}) | dict.fromkeys(paths, (self.commit, origin))
        return self.layers[label, layer]

    def save(self, label: str, layer: int, path: str, content: str) -> None:
        contents, reasons = self.edit(label, layer, path)
        reasons.pop(path, None)
        contents[path] = json.dumps({"a": len(content)}).encode() if path.endswith("json") else content.encode()

    def remove(self, label: str, layer: int, path: str) -> None:
        for each in self.edit(label, layer, path):
            each.pop(path, None)

    def rename(self, label: str, layer: int, path: str, other: str) -> None:
        contents, reasons = self.edit(label, layer, path, other)
        if path in contents:
            reasons.pop(other, None)
            contents[other] = contents.pop(path)

    def close(self, label: str, layer: int, path: str) -> None:
        contents, reasons = self.edit(label, layer, path)
        contents.pop(path, None)
        reasons[path] = "permission denied"

    def switch(self, label: str, other: str) -> None:
        """A branch points to the commit of another."""
        self.edit(label, 0, *PATHS)
        self.layers[label, 0] = self.layers.get((other, 0), ({}, {}))

    def end(self, label: str) -> None:
        for layer in (0, 1):
            self.layers.pop((label, layer), None)
            self.kept.pop((label, layer), None)

    def rewrite(self) -> None:
        """Each commit is made anew."""
        for label, edits in self.edits.items():
            self.edits[label] = {
                path: (number, attrs.evolve(origin, commit=f"{origin.commit}x"))
                for path, (number, origin) in edits.items()
            }
        self.kept.clear()

    # Publications.

    def files(self, label: str, layer: int) -> Files:
        kept = self.kept.get((label, layer))
        if kept is None:
            contents, reasons = self.layers.get((label, layer), ({}, {}))
            origin = None if self.depth is None or layer else Origin(f"c{self.commit}", "author", f"{self.commit:04}")
            edits = None
            if origin is not None and self.depth is not None and self.depth > 1:
                edits = Edits(self.commit, dict(self.edits.get(label, {})), self.depth)
            kept = self.kept[label, layer] = Files(
                dict(contents), dict(reasons), f"root{layer}:/", self.locations, origin.commit if origin else None, origin,
                group=layer, edits=edits,
            )  # fmt: skip
        return kept

    def tree(self) -> Tree:
        labels = {}
        for label, layer in self.layers:
            if layer == 0:
                first = self.files(label, 0)
                labels[label] = attrs.evolve(first, others=(self.files(label, 1),)) if self.has_second else first
        return Tree(labels, "main")

    async def do(self, kind: str, *arguments: Any) -> None:
        publisher = self.wired.publisher
        match kind:
            case "second":
                self.has_second = arguments[0]
            case "commits":
                self.depth = arguments[0]
                self.kept.clear()
            case "locations":
                self.locations = arguments[0]
                self.kept.clear()
            case "decrypt":
                self.decryptor = Decryptor(OneKey(Backwards())) if arguments[0] else None
                await publisher.resolve_by(self.decryptor, self.overrides)
                return
            case "override":
                values = {arguments[0]: "over"} if arguments[0] else {}
                self.overrides = PropertySource("overrides", values, {}) if values else None
                await publisher.resolve_by(self.decryptor, self.overrides)
                return
            case "limits":
                await publisher.parse_by(FormatSettings(nodes=arguments[0]))
                return
            case "hold" if arguments[0] not in self.held:
                try:
                    self.wired.pipeline.hold(arguments[0])
                except (UnknownLabel, FormatError, ResolveError):
                    return
                self.held.add(arguments[0])
                self.wired.registry.add(self.subscriber, arguments[0])
                self.before[arguments[0]] = self.wired.store.find(arguments[0])
                return
            case "match":
                await self.wired.pipeline.subscribe(self.other, arguments, 1_000)
                return
            case "leave":
                self.wired.pipeline.unsubscribe(self.other, arguments)
                return
            case "release" if arguments[0] in self.held:
                self.held.remove(arguments[0])
                self.wired.registry.discard(self.subscriber, arguments[0])
                self.wired.pipeline.release(arguments[0])
                return
            case "hold" | "release" | "nothing":
                pass
            case _:
                getattr(self, kind)(*arguments)
        await publisher.publish(self.tree())

    # What must be true.

    def check(self) -> None:
        served = self.wired.store.served
        assert served is not None
        self._check_files(served.tree, served.formats)
        # Another decryptor with the same keys, so that nothing is shared.
        decryptor = Decryptor(OneKey(Backwards())) if self.decryptor is not None else None
        anew = State(served.state.labels, served.state.default_label, decryptor, self.overrides)
        for key in self.wired.store:
            self._check_key(anew, key, served.failures)
        self._check_deliveries()
        self.before = {key: self.wired.store.find(key) for key in self.wired.store}

    def _check_files(self, tree: Tree, limits: FormatSettings) -> None:
        """The documents are those of the files, and broken files have none or former ones."""
        served = self.wired.store.served
        assert served is not None
        for label, files in parse_tree(tree, limits).labels.items():
            for one, other in zip(files.layers, served.state.labels[label].layers, strict=True):
                assert one.broken.keys() == other.broken.keys()
                sound = {path: [each.values for each in found] for path, found in other.documents.items()}
                expected = {path: [each.values for each in found] for path, found in one.documents.items()}
                assert expected == {path: values for path, values in sound.items() if path not in other.broken}

    def _check_key(self, anew: State, key: Key, failures: Mapping[Key, str]) -> None:
        found, before = self.wired.store.find(key), self.before.get(key)
        try:
            expected = anew.resolve(key)
        except UnknownLabel:
            assert found is None
            return
        except (FormatError, ResolveError) as error:
            assert (found and found.body) == (before and before.body)
            assert (key in failures) == isinstance(error, ResolveError)
            return
        assert found is not None
        assert key not in failures
        for one in attrs.fields(Config):
            assert one.alias is not None
            if one.alias not in ("sources", "published", "size"):
                assert getattr(expected, one.alias) == getattr(found, one.alias), one.name
        assert len(found.body) == found.size
        for version, body in self.wired.store.history(key).items():
            assert version == version_of(body)
        assert [_plain(each) for each in expected.sources] == [_plain(each) for each in found.sources]

    def _check_deliveries(self) -> None:
        """Each changed key was delivered once, and the message leads from the old document to the new one."""
        deliveries, self.subscriber.deliveries = self.subscriber.deliveries, []
        changed = {
            key
            for key in self.held
            if _version(self.before.get(key)) != _version(self.wired.store.find(key)) and key in self.before
        }
        assert changed == {each.key for each in deliveries}
        assert len(changed) == len(deliveries)
        for each in deliveries:
            message, old, new = (
                orjson.loads(bytes(each.payload)),
                self.before[each.key],
                self.wired.store.find(each.key),
            )
            if "diff" in message:
                assert old is not None
                assert new is not None
                assert new.document == apply_patch(old.document, message["diff"])
                assert new.body == orjson.dumps(apply_patch(old.document, message["diff"]), option=orjson.OPT_SORT_KEYS)
            elif "config" in message:
                assert new is not None
                assert new.document == message["config"]


def _version(config: Config | None) -> str | None:
    return config.version if config is not None else None


def _plain(source: PropertySource) -> tuple[object, ...]:
    values = [(key, type(value), str(value)) for key, value in source.values.items()]
    return source.name, values, dict(source.origins)


async def _inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


@given(st.lists(STEPS, max_size=30), st.sampled_from(LOCATIONS), st.sampled_from((None, 3)), st.booleans())
@settings(deadline=None, max_examples=examples(250))
def test_each_publication_leads_to_what_a_full_resolution_leads_to(
    steps: list[tuple[Any, ...]], locations: tuple[str, ...], depth: int | None, is_applied: bool
) -> None:
    """Whether the store applies the configurations of a commit at once or when it must."""

    async def main() -> None:
        world = World()
        world.locations, world.depth = locations, depth
        await world.do("save", "main", 0, "shop.yml", "a: 1\nb: {c: 2}")
        await world.do("save", "main", 0, "application.yml", "s: 1\na: 0")
        for key in KEYS[:4]:
            await world.do("hold", key)
        world.check()
        for step in steps:
            await world.do(*step)
            world.check()

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(trio.to_thread, "run_sync", _inline))
        if not is_applied:
            stack.enter_context(mock.patch.object(store, "_APPLIED_AT_ONCE", 0))
            stack.enter_context(mock.patch.object(store.Store, "apply", return_value=False))
        trio.run(main)
