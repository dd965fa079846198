"""Facts about files without labels of their own: one label, or a label for each top directory."""

from vortexd.source.layout import tree_of

FILES = {"application.yml": b"a", "v1/orders.yml": b"1", "v2/deep/x.yml": b"2"}
UNREADABLE = {"v3/bad.yml": "permission", "top.yml": "size"}


def test_without_label_directories_all_files_belong_to_one_label_and_contribute_to_others() -> None:
    tree, skipped = tree_of(FILES, UNREADABLE, "etcd:/c/", "main", label_directories=False)
    assert tree.default_label == "main"
    assert list(tree.labels) == ["main"]
    assert tree.labels["main"] is tree.shared
    assert tree.shared is not None
    assert (tree.shared.contents, tree.shared.unreadable, tree.shared.root) == (FILES, UNREADABLE, "etcd:/c/")
    assert tree.shared.locations == ("",)
    assert skipped == {}


def test_with_label_directories_a_label_has_its_directory_and_the_files_at_the_top() -> None:
    tree, skipped = tree_of(FILES, UNREADABLE, "etcd:/c/", "main", label_directories=True)
    assert list(tree.labels) == ["v1", "v2", "v3"]
    assert tree.labels["v1"].contents == {"application.yml": b"a", "v1/orders.yml": b"1"}
    assert tree.labels["v1"].unreadable == {"top.yml": "size"}
    assert tree.labels["v1"].locations == ("", "v1/")
    assert tree.labels["v2"].contents == {"application.yml": b"a", "v2/deep/x.yml": b"2"}
    assert tree.labels["v3"].unreadable == UNREADABLE
    assert tree.shared is not None
    assert (tree.shared.contents, tree.shared.unreadable) == ({"application.yml": b"a"}, {"top.yml": "size"})
    assert skipped == {}


def test_a_directory_whose_name_can_not_be_a_label_is_skipped() -> None:
    tree, skipped = tree_of({"a..b/x.yml": b"", "ok/x.yml": b""}, {}, "etcd:/c/", "main", label_directories=True)
    assert list(tree.labels) == ["ok"]
    assert skipped == {"a..b": "its name can't be a label"}
