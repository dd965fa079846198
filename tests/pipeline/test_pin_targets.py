"""The files for a pin: of what is served, of a version, and of a commit, within bounds."""

from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from tests.fakes import FormerTrees
from vortexd.core.errors import RemoteError, UnknownLabel
from vortexd.core.model import Files, Key, Tree
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.pins.keeper import PATIENCE
from vortexd.pipeline import pin_targets as module
from vortexd.pipeline.pin_targets import Target
from vortexd.pipeline.state import overrides_of
from vortexd.settings.server import ServerSettings

from ..wiring import Wired
from .test_key_history import Repository, id_of

SHOP = Key("shop", "dev", "main")


def files(text: str, **more: Any) -> Files:
    return Files({"shop.yml": text.encode(), "other.yml": b"x: 1"}, **{"root": "file:/c/", **more})


def tree(text: str = "a: 1", **labels: Files) -> Tree:
    return Tree({"main": files(text), **labels}, "main")


def contents(target: Target) -> list[dict[str, bytes]]:
    return [dict(layer.contents) for layers in target.labels for layer in layers]


async def refused(whole: Wired, to: str, key: Key = SHOP) -> tuple[int, str]:
    with pytest.raises(RemoteError) as caught:
        await whole.reader.pin_target(key, to)
    return caught.value.status, caught.value.reason


async def of_repository(repository: Repository, number: int | None = None) -> Wired:
    """Serves a commit of a repository, the newest unless it is named."""
    whole = Wired(commits=repository)
    head = len(repository.states) - 1 if number is None else number
    served = Files(repository.states[head], root=repository.root, revision=id_of(head))
    await whole.publisher.publish(Tree({"main": served}, "main"))
    return whole


async def test_nothing_named_means_what_is_served() -> None:
    whole = Wired()
    await whole.publisher.publish(Tree({"main": files("a: 1", revision="c1")}, "main"))
    target = await whole.reader.pin_target(SHOP, "")

    assert ((await whole.reader.read(SHOP)).version, "c1") == (target.version, target.commit)
    assert [{"shop.yml": b"a: 1"}] == contents(target)
    named = await whole.reader.pin_target(SHOP, target.version)
    assert (target.version, contents(target)) == (named.version, contents(named))


async def test_files_of_several_commits_have_no_commit() -> None:
    whole = Wired()
    key = attrs.evolve(SHOP, label="main,dev")
    await whole.publisher.publish(
        Tree({"main": files("a: 1", revision="c1"), "dev": files("b: 1", revision="c2")}, "main")
    )
    assert None is (await whole.reader.pin_target(key, "")).commit


async def test_a_key_without_configuration_a_label_that_is_unknown_and_an_early_question_are_refused() -> None:
    whole = Wired()
    with pytest.raises(UnknownLabel) as caught:
        await whole.reader.pin_target(SHOP, "")
    assert 503 == caught.value.status
    await whole.publisher.publish(tree())

    assert (404, "there is no such configuration") == await refused(whole, "", Key("nobody", "dev", "main"))
    assert 404 == (await refused(whole, "", attrs.evolve(SHOP, label="gone")))[0]


@pytest.mark.parametrize("to", ["x", "abcdef", "0" * 65, "ABCDEF0", "0123456g", " ", "main", "0" * 7 + "\n", "g" * 16])
async def test_a_text_that_is_neither_a_version_nor_a_commit_is_refused(to: str) -> None:
    whole = Wired()
    await whole.publisher.publish(tree())
    assert 400 == (await refused(whole, to))[0]


@pytest.mark.parametrize("to", ["0" * 7, "0" * 15, "0" * 16, "0" * 17, "0" * 64])
async def test_a_version_or_commit_that_is_not_known_is_refused(to: str) -> None:
    whole = await of_repository(Repository({"shop.yml": "a: 1"}))
    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    whole = await of_repository(repository)
    status, _ = await refused(whole, to)
    assert 404 == status


async def test_a_commit_is_named_by_its_beginning() -> None:
    ids = [id_of(number) for number in range(3)]
    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2", "other.yml": "b: 1"}, {"shop.yml": "a: 3"})
    whole = await of_repository(repository)
    target = await whole.reader.pin_target(SHOP, ids[1])

    assert (ids[1], [{"shop.yml": b"a: 2"}]) == (target.commit, contents(target))
    document = await whole.reader.document_at(SHOP, lambda commits: commits[1], "ann")
    assert document[1] is not None
    assert document[1].version == target.version
    assert 404 == (await refused(whole, ids[1][:30]))[0]


async def test_only_commits_of_the_served_label_can_be_named() -> None:
    whole = await of_repository(Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}, {"shop.yml": "a: 3"}), 1)
    assert 404 == (await refused(whole, id_of(2)))[0]


async def test_a_commit_at_which_the_key_can_not_be_resolved_is_refused() -> None:
    repository = Repository({"shop.yml": "a: ["}, {"shop.yml": "a: 2"})
    whole = await of_repository(repository)
    status, reason = await refused(whole, id_of(0))
    assert (404, "the key can't be resolved at commit 000000000000") == (status, reason)
    repository.unservable.add(0)
    assert 404 == (await refused(await of_repository(repository), id_of(0)))[0]


async def test_a_commit_can_be_named_while_the_key_can_not_be_read() -> None:
    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: ["})
    with capture_logs():
        whole = await of_repository(repository)
    assert (503, "the key can't be read now; name a version or a commit") == await refused(whole, "")
    assert [{"shop.yml": b"a: 1"}] == contents(await whole.reader.pin_target(SHOP, id_of(0)))


async def test_a_version_is_searched_among_the_commits() -> None:
    repository = Repository(*({"shop.yml": f"a: {number}"} for number in range(5)))
    whole = await of_repository(repository)
    version = (await whole.reader.document_at(SHOP, lambda commits: commits[2], "ann"))[1]
    assert version is not None

    target = await whole.reader.pin_target(SHOP, version.version)
    assert (version.version, id_of(2), [{"shop.yml": b"a: 2"}]) == (target.version, target.commit, contents(target))


async def test_the_search_reads_further_pages_and_then_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 1)
    repository = Repository(*({"shop.yml": f"a: {number}"} for number in range(6)))
    whole = await of_repository(repository)
    found = (await whole.reader.document_at(SHOP, lambda commits: commits[2], "ann"))[1]
    assert found is not None
    assert id_of(3) == (await whole.reader.pin_target(SHOP, found.version)).commit
    monkeypatch.setattr(module, "MOST_PAGES", 2)
    assert (404, "the server doesn't know this version of the key, and there is no such commit") == await refused(
        await of_repository(repository), found.version
    )


async def test_commits_that_can_not_be_read_now_are_an_error() -> None:
    from vortexd.core.errors import SourceError

    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    whole = await of_repository(repository)
    repository.error = SourceError("the mirror is gone")
    with capture_logs():
        assert 503 == (await refused(whole, "0" * 16))[0]
        assert 503 == (await refused(whole, id_of(0)))[0]


async def test_a_commit_with_an_id_that_looks_like_a_version_is_found() -> None:
    repository = Repository({"shop.yml": "a: 1"})
    whole = await of_repository(repository)
    assert id_of(0) == (await whole.reader.pin_target(SHOP, "0" * 16)).commit


async def test_a_version_is_searched_among_the_former_states() -> None:
    former = tree("a: 7", dev=files("b: 7"))
    whole = Wired(sources=FormerTrees(tree("a: 8"), former))
    await whole.publisher.publish(tree("a: 1", dev=files("b: 1")))
    other = Wired()
    await other.publisher.publish(former)
    version = (await other.reader.read(SHOP)).version

    target = await whole.reader.pin_target(SHOP, version)
    assert (version, None, [{"shop.yml": b"a: 7"}]) == (target.version, target.commit, contents(target))
    assert 404 == (await refused(whole, "0" * 16))[0]


async def test_a_version_in_the_history_of_the_key_is_pinned_at_its_document() -> None:
    """No source has the files any more. The document can be a file, because nothing in it was decrypted."""
    whole = Wired()
    await whole.publisher.publish(Tree({"main": files("a: {b: [1, x]}", group=2)}, "main"))
    config = await whole.reader.read(SHOP)
    whole.pipeline.hold(SHOP)
    await whole.publisher.publish(tree("a: 2"))

    target = await whole.reader.pin_target(SHOP, config.version)
    assert (config.version, None, [{"application.json": config.body}]) == (
        target.version,
        target.commit,
        contents(target),
    )


async def test_a_document_that_may_hold_decrypted_values_is_no_file() -> None:
    whole = Wired(decryptor=Decryptor(OneKey(AesEncryptor("k" * 16, "deadbeef"))))
    await whole.publisher.publish(tree("a: 1"))
    config = await whole.reader.read(SHOP)
    whole.pipeline.hold(SHOP)
    await whole.publisher.publish(tree("a: 2"))

    assert config.version in whole.reader.history(SHOP)
    assert 404 == (await refused(whole, config.version))[0]


async def test_files_that_do_not_give_the_version_any_more_are_no_target() -> None:
    """The overrides have changed since."""
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    config = await whole.reader.read(SHOP)
    whole.pipeline.hold(SHOP)
    await whole.publisher.resolve_by(None, overrides_of({"a": "2"}))

    assert 404 == (await refused(whole, config.version))[0]


async def test_a_key_that_keeps_an_older_document_is_pinned_at_that() -> None:
    """Its files can't be combined now."""
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    version = (await whole.reader.read(SHOP)).version
    whole.pipeline.hold(SHOP)
    profiles = ",".join(f"p{number}" for number in range(65))
    with capture_logs():
        await whole.publisher.publish(tree(f"a: 2\nspring.profiles.include: {profiles}"))

    assert version == (await whole.reader.read(SHOP)).version
    target = await whole.reader.pin_target(SHOP, "")
    assert (version, [{"application.json": b'{"a":1}'}]) == (target.version, contents(target))


@pytest.mark.parametrize(("more", "is_right"), [(0, True), (1, False)])
async def test_the_files_of_a_pin_have_a_limit(monkeypatch: pytest.MonkeyPatch, more: int, is_right: bool) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", len("shop.yml") + len("a: 12") - more)
    whole = Wired()
    await whole.publisher.publish(tree("a: 12"))
    if is_right:
        await whole.reader.pin_target(SHOP, "")
    else:
        assert 400 == (await refused(whole, ""))[0]


async def test_the_search_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    whole = await of_repository(repository)

    class Slow(type(whole.reader)):  # type: ignore[misc]
        async def changes(self, *_: Any) -> Any:
            await trio.sleep_forever()

    whole.reader.__class__ = Slow
    began = trio.current_time()
    status, _ = await refused(whole, "0" * 15 + "1")
    assert module.SECONDS + PATIENCE < ServerSettings().request_timeout
    assert (503, module.SECONDS) == (status, trio.current_time() - began)


async def test_each_layer_of_a_key_is_pinned_as_it_was_at_the_commit() -> None:
    """A layer without commits is pinned as it is now."""
    repository = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    whole = Wired(commits=repository)
    plain = Files({"shop.yml": b"b: 7"}, root="file:/w/", group=1)
    served = Files(repository.states[1], root=repository.root, revision=id_of(1), others=(plain,))
    await whole.publisher.publish(Tree({"main": served}, "main"))

    target = await whole.reader.pin_target(SHOP, id_of(0))
    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"b: 7"}] == contents(target)
    assert ["git:/a/", "file:/w/"] == [layer.root for layers in target.labels for layer in layers]
    assert 2 == len(target.labels[0])
