"""Plans of roll-backs: the fewest files, whose files they are, the other keys, and the bounds."""

from collections.abc import Sequence

import pytest

from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.pipeline.rollback import plan as module
from vortexd.pipeline.rollback.plan import MOST_OTHERS, is_own, make_plan

from .branches import SHOP, Texts, branch, changes, files_of, id_of, past_of, plan_of, states_of, target

BASE = {"application.yml": "x: 1\n", "shop.yml": "a: 1\n", "shop-dev.yml": "b: 1\n", "cart.yml": "c: 1\n"}


def refused(old: Texts, new: Texts, key: Key = SHOP, **more: object) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        plan_of(old, new, key, **more)  # type: ignore[arg-type]  # the arguments of `plan_of`
    return caught.value


# The files.


def test_only_the_files_of_the_key_that_differ_are_restored() -> None:
    plan = plan_of({**BASE, "shop.yml": "a: 2\n", "cart.yml": "c: 2\n"}, BASE)

    assert {"shop.yml": "a: 1\n"} == changes(plan)
    assert (b'{"a":2,"b":1,"x":1}', b'{"a":1,"b":1,"x":1}') == (plan.old and plan.old.body, plan.new.body)
    assert (SHOP, branch(), id_of(1)) == (plan.key, plan.branch, plan.target)
    assert set() == plan.created


def test_files_are_created_and_deleted() -> None:
    old = {"shop.properties": "a=2", "application.yml": "x: 1"}
    plan = plan_of(old, {"shop.yml": "a: 1", "application.yml": "x: 1"})

    assert {"shop.properties": None, "shop.yml": "a: 1"} == changes(plan)
    assert {"shop.yml"} == plan.created


def test_a_file_whose_difference_does_not_matter_stays() -> None:
    old = {**BASE, "shop.yml": "a: 2\n", "shop-dev.yml": "b: 1 # said otherwise\n"}

    assert {"shop.yml": "a: 1\n"} == changes(plan_of(old, BASE))


def test_the_smallest_set_is_found_even_if_a_larger_one_is_found_first() -> None:
    """Without the last file, the two others are needed. The last one alone suffices, too."""
    old = {"shop.yml": "a: 2\nb: 2", "shop-dev.yml": "c: 3", "shop-dev.json": "{}"}
    new = {"shop.yml": "a: 1\nb: 1", "shop-dev.yml": "c: 4\na: 1\nb: 1", "shop-dev.json": "{}"}
    found = changes(plan_of(old, new))

    assert {"shop-dev.yml": "c: 4\na: 1\nb: 1"} == found


def test_two_files_are_restored_if_neither_alone_suffices() -> None:
    old = {**BASE, "shop.yml": "a: 2\n", "shop-dev.yml": "b: 2\n"}

    assert {"shop.yml": "a: 1\n", "shop-dev.yml": "b: 1\n"} == changes(plan_of(old, BASE))


def test_a_document_that_is_equal_already_needs_no_file() -> None:
    plan = plan_of({**BASE, "shop.yml": "a: 1 # x", "cart.yml": "c: 2"}, BASE, in_use=[Key("cart", "x", "main")])

    assert ([], [], 0) == (plan.files, plan.others, plan.others_count)
    assert plan.old is not None
    assert plan.old.version == plan.new.version


def test_a_file_of_several_documents_is_restored_whole() -> None:
    text = "a: 1\n---\nspring.config.activate.on-profile: dev\nb: 1\n"
    old = {"shop.yml": text.replace("b: 1", "b: 2")}

    assert {"shop.yml": text} == changes(plan_of(old, {"shop.yml": text}))


def test_a_document_for_other_profiles_does_not_matter() -> None:
    text = "a: 1\n---\nspring.config.activate.on-profile: prod\nb: 1\n"

    assert {} == changes(plan_of({"shop.yml": text.replace("b: 1", "b: 2")}, {"shop.yml": text}))


def test_an_imported_file_of_the_application_is_restored() -> None:
    text = "spring.config.import: shop-more.yml\na: 1\n"
    found = plan_of({"shop.yml": text, "shop-more.yml": "b: 2"}, {"shop.yml": text, "shop-more.yml": "b: 1"})

    assert {"shop-more.yml": "b: 1"} == changes(found)


def test_an_import_that_is_new_is_undone_with_its_importer_alone() -> None:
    old = {"shop.yml": "spring.config.import: shop-more.yml\na: 1\n", "shop-more.yml": "b: 2"}

    assert {"shop.yml": "a: 1\n"} == changes(plan_of(old, {"shop.yml": "a: 1\n"}))


def test_an_import_that_was_lost_comes_back_with_its_file() -> None:
    text = "spring.config.import: shop-more.yml\na: 1\n"
    found = plan_of({"shop.yml": "a: 1\n"}, {"shop.yml": text, "shop-more.yml": "b: 1"})

    assert {"shop.yml": text, "shop-more.yml": "b: 1"} == changes(found)


def test_several_profiles_and_applications_count_together() -> None:
    key = Key("shop,cart", "dev,eu", "main")
    new = {"shop-dev.yml": "a: 1", "cart-eu.yml": "b: 1", "shop-x.yml": "c: 1"}
    old = {"shop-dev.yml": "a: 2", "cart-eu.yml": "b: 2", "shop-x.yml": "c: 2"}

    assert {"shop-dev.yml": "a: 1", "cart-eu.yml": "b: 1"} == changes(plan_of(old, new, key))


# Search paths.


def test_the_search_path_of_an_application_is_its_own() -> None:
    locations = ("", "{application}/")
    new = {"shop/application.yml": "a: 1", "shop/x-dev.yml": "b: 1", "shop/shop-dev.yml": "c: 1"}
    old = {path: text.replace("1", "2") for path, text in new.items()}
    found = changes(plan_of(old, new, locations=locations))

    assert {"shop/application.yml": "a: 1", "shop/shop-dev.yml": "c: 1"} == found


def test_a_directory_that_a_pattern_finds_is_removed_again() -> None:
    new = {"shop.yml": "a: 1"}
    plan = plan_of({**new, "new/shop.yml": "a: 2"}, new, locations=("", "*/"), in_use=[Key("cart", "dev", "main")])

    assert {"new/shop.yml": None} == changes(plan)
    assert [Key("shop", "default", "main")] == plan.others


@pytest.mark.parametrize(
    ("path", "locations", "application", "is_its_own"),
    [
        ("shop.yml", ("",), "shop", True),
        ("shop-dev.yml", ("",), "shop", True),
        ("shop-eu-dev.yml", ("",), "shop", True),
        ("shop2.yml", ("",), "shop", False),
        ("sho.yml", ("",), "shop", False),
        ("application.yml", ("",), "shop", False),
        ("application-dev.yml", ("",), "shop", False),
        ("application.yml", ("",), "application", False),
        ("application-dev.yml", ("",), "application,shop", False),
        ("cart.yml", ("",), "shop,cart", True),
        ("x/shop.yml", ("", "x/"), "shop", True),
        ("x/application.yml", ("", "x/"), "shop", False),
        ("shop/application.yml", ("", "{application}/"), "shop", True),
        ("shop/any.yml", ("", "{application}/"), "shop", True),
        ("cart/shop.yml", ("", "{application}/"), "shop", False),
        ("dev/application.yml", ("", "{profile}/"), "shop", False),
        ("dev/shop.yml", ("", "{profile}/"), "shop", True),
        ("shop/dev/x.yml", ("{application}/{profile}/",), "shop", True),
        ("any/shop.yml", ("*/",), "shop", True),
        ("team/shop.yml", ("",), "team/shop", True),
        ("team/shop.yml", ("",), "shop", False),
        ("other/shop.yml", ("x/",), "shop", False),
    ],
)
def test_a_file_is_named_after_its_application_or_in_its_directory(
    path: str, locations: tuple[str, ...], application: str, is_its_own: bool
) -> None:
    assert is_its_own == is_own(path, locations, Key(application, "dev", "main"))


# Shared files.


def test_files_that_others_share_need_the_word_of_the_person() -> None:
    old = {**BASE, "application.yml": "x: 2\n", "shop.yml": "a: 2\n"}
    error = refused(old, BASE)

    assert 409 == error.status
    assert "application.yml" in error.reason
    assert "shop.yml" not in error.reason
    assert "--shared" in error.reason
    assert {"application.yml": "x: 1\n", "shop.yml": "a: 1\n"} == changes(plan_of(old, BASE, shared=True))


def test_an_imported_file_of_others_is_shared() -> None:
    text = "spring.config.import: common.yml\n"
    old, new = {"shop.yml": text, "common.yml": "a: 2"}, {"shop.yml": text, "common.yml": "a: 1"}

    assert "share: common.yml;" in refused(old, new).reason
    assert {"common.yml": "a: 1"} == changes(plan_of(old, new, shared=True))


def test_own_files_are_preferred_even_if_shared_ones_are_allowed() -> None:
    old = {"application.yml": "x: 2", "shop.yml": "y: 1"}
    new = {"application.yml": "x: 1", "shop.yml": "x: 1\ny: 1"}

    assert {"shop.yml": "x: 1\ny: 1"} == changes(plan_of(old, new, shared=True))


def test_at_most_ten_files_are_named() -> None:
    text = "spring.config.import: " + ",".join(f"c{number:02}.yml" for number in range(12))
    old = {"shop.yml": text, **{f"c{number:02}.yml": f"k{number}: 2" for number in range(12)}}
    new = {"shop.yml": text, **{f"c{number:02}.yml": f"k{number}: 1" for number in range(12)}}
    reason = refused(old, new).reason

    assert "c09.yml and 2 more;" in reason
    assert "c10.yml" not in reason


# Broken files.


def test_a_broken_file_is_restored_although_its_last_good_content_is_served() -> None:
    plan = plan_of({**BASE, "shop.yml": "a: ["}, BASE, served=BASE)

    assert {"shop.yml": "a: 1\n"} == changes(plan)
    assert plan.old is not None
    assert plan.old.version == plan.new.version


def test_a_key_that_can_not_be_resolved_at_the_newest_commit_is_restored() -> None:
    plan = plan_of({**BASE, "shop.yml": "a: ["}, BASE)

    assert {"shop.yml": "a: 1\n"} == changes(plan)
    assert plan.old is None


def test_a_broken_file_that_the_key_does_not_read_stays() -> None:
    old = {**BASE, "shop.yml": "a: 2\n", "cart.yml": "["}

    assert {"shop.yml": "a: 1\n"} == changes(plan_of(old, BASE))


def test_a_file_that_could_not_be_read_is_restored() -> None:
    old = {path: text for path, text in BASE.items() if path != "shop.yml"}
    plan = plan_of(old, BASE, unreadable={"shop.yml": "too large"})

    assert {"shop.yml": "a: 1\n"} == changes(plan)
    assert set() == plan.created


def test_a_target_that_is_broken_is_refused() -> None:
    error = refused(BASE, {**BASE, "shop.yml": "a: ["})

    assert 409 == error.status
    assert error.reason.startswith("the configuration can't be read at the target: shop.yml:")


def test_a_target_that_is_broken_is_refused_even_if_other_content_is_served_for_it() -> None:
    broken = {**BASE, "shop.yml": "a: ["}
    states = states_of({"main": files_of(broken)})
    # As after a publication that found the file broken.
    served = states.at(past_of(BASE, 1), repairs=True)
    head = states.changed(served, {"shop.yml": b"a: ["})
    with pytest.raises(RemoteError, match=r"the target: shop.yml is broken there") as caught:
        make_plan(states, branch(), served, head, SHOP, (), lambda: None, shared=False)
    assert 409 == caught.value.status


def test_profiles_that_can_not_be_found_out_make_every_file_a_candidate() -> None:
    bad = "spring.profiles.include: '..'\n"
    plan = plan_of({**BASE, "shop.yml": bad, "cart.yml": "c: 2"}, BASE)

    assert {"shop.yml": "a: 1\n"} == changes(plan)


# Links.


def test_a_link_becomes_a_file_and_its_target_stays() -> None:
    old = {**BASE, "shop.yml": "c: 1\n"}
    plan = plan_of(old, BASE, ways={"shop.yml": ("shop.yml", "cart.yml")})

    assert {"shop.yml": "a: 1\n"} == changes(plan)


def test_links_to_a_restored_file_change_with_it() -> None:
    old = {**BASE, "shop.yml": "a: 2\n", "cart.yml": "a: 2\n", "far.yml": "a: 2\n"}
    ways = {"cart.yml": ("cart.yml", "shop.yml"), "far.yml": ("far.yml", "cart.yml", "shop.yml")}
    plan = plan_of(old, BASE, ways=ways)

    assert [Key(name, "default", "main") for name in ("cart", "far", "shop")] == plan.others


# The other keys.


def test_listed_keys_and_keys_in_use_that_change_are_named() -> None:
    in_use = [Key("shop", "made-up", "main"), Key("other", "dev", "main"), Key("shop", "dev", "dev"), SHOP]
    plan = plan_of({**BASE, "shop.yml": "a: 2\n"}, BASE, in_use=in_use)

    assert [Key("shop", "default", "main"), Key("shop", "made-up", "main")] == plan.others
    assert 2 == plan.others_count


def test_a_key_that_reads_a_restored_file_without_a_change_is_not_named() -> None:
    old = {"application.yml": "x: 2", "shop.yml": "a: 1", "cart.yml": "x: 5", "cart-dev.yml": "x: 6"}
    plan = plan_of(old, {**old, "application.yml": "x: 1"}, shared=True)

    assert [Key("shop", "default", "main")] == plan.others


def test_a_key_of_several_labels_changes_with_one_of_them() -> None:
    states = states_of({"main": files_of({"shop.yml": "a: 2"}), "dev": files_of({"shop.yml": "b: 1"})})
    head = states.at(past_of({"shop.yml": "a: 2"}, 9), repairs=True)
    both, other = Key("shop", "dev", "main,dev"), Key("shop", "dev", "dev")
    plan = make_plan(
        states, branch(), head, target(states, {"shop.yml": "a: 1"}), SHOP, (both, other), lambda: None, shared=False
    )

    assert [Key("shop", "default", "main"), both] == plan.others


def test_all_labels_that_a_branch_serves_change() -> None:
    files = files_of({"shop.yml": "a: 2"})
    states = states_of({"main": files, "master": files}, ("main", "master"))
    head = states.at(past_of({"shop.yml": "a: 2"}, 9), repairs=True)
    plan = make_plan(
        *(states, branch(("main", "master")), head, target(states, {"shop.yml": "a: 1"}), SHOP),
        *((Key("shop", "dev", "master"),), lambda: None),
        shared=False,
    )

    assert [("default", "main"), ("default", "master"), ("dev", "master")] == [
        (each.profile, each.label) for each in plan.others
    ]


def test_a_key_that_can_be_resolved_only_before_or_after_changes() -> None:
    old = {"shop.yml": "a: 1", "shop-dev.yml": "b: 1", "shop-x.yml": "a.b: 1"}
    new = {"shop.yml": "a: 1", "shop-dev.yml": "b: 1", "shop-x.yml": "a.b: 1"}
    plan = plan_of({**old, "shop.yml": "["}, new, served={})

    assert Key("shop", "default", "main") in plan.others


@pytest.mark.parametrize(("count", "named"), [(MOST_OTHERS, MOST_OTHERS), (MOST_OTHERS + 1, MOST_OTHERS)])
def test_many_others_are_counted(count: int, named: int) -> None:
    in_use = [Key("shop", f"p{number:03}", "main") for number in range(count - 1)]
    plan = plan_of({"shop.yml": "a: 2"}, {"shop.yml": "a: 1"}, in_use=in_use)

    assert (named, count) == (len(plan.others), plan.others_count)


# Bounds.


def many(count: int, value: int) -> dict[str, str]:
    profiles = ",".join(f"p{number}" for number in range(count))
    texts = {f"shop-p{number}.yml": f"k{number}: {value}" for number in range(count)}
    return {"shop.yml": f"spring.profiles.include: {profiles}", **texts}


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 3)

    assert 3 == len(changes(plan_of(many(3, 2), many(3, 1))))
    error = refused(many(4, 2), many(4, 1))
    assert (409, "more than 3 files of this key differ from those of the target") == (error.status, error.reason)


def test_a_bounded_number_of_sets_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve files have 4,096 sets. All of them are needed, which is known after the first thirteen."""
    trials: list[Sequence[str]] = []
    original = module._Search._suffice

    def counted(self: module._Search, paths: Sequence[str]) -> bool:
        trials.append(paths)
        return original(self, paths)

    monkeypatch.setattr(module._Search, "_suffice", counted)
    monkeypatch.setattr(module, "MOST_TRIALS", 50)

    assert 12 == len(changes(plan_of(many(12, 2), many(12, 1))))
    assert 50 == len({frozenset(each) for each in trials})


def test_the_time_is_checked_before_each_set_and_each_other_key() -> None:
    ticks: list[int] = []
    in_use = [Key("shop", f"p{number}", "main") for number in range(5)]
    plan_of({"shop.yml": "a: 2"}, {"shop.yml": "a: 1"}, in_use=in_use, tick=lambda: ticks.append(1))

    assert 1 + 6 == len(ticks)


def test_if_the_time_is_over_there_is_no_plan() -> None:
    def late() -> None:
        raise RemoteError("late", 503)

    assert 503 == refused({"shop.yml": "a: 2"}, {"shop.yml": "a: 1"}, tick=late).status
