"""The files that a document imports: which keys name them, and which targets stay within the source."""

import pytest

from vortexd.core.model import Scalar
from vortexd.resolve.flatten import Values
from vortexd.resolve.imports import for_profile, imports_of


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("spring.config.import", True),
        ("spring.config.import[0]", True),
        ("spring.config.import[10]", True),
        ("SPRING.CONFIG.IMPORT", True),
        ("Spring.Con-fig.im_port", True),
        ("spring.config.import[x]", False),
        ("spring.config.import[]", False),
        ("spring.config.import[0][1]", False),
        ("spring.config.import.x", False),
        ("spring.config.imports", False),
        ("spring.config", False),
        ("a.spring.config.import", False),
        ("springy.config.import", False),
        ("sprin.config.import", False),
    ],
)
def test_imports_stand_under_one_key_or_in_a_list_below_it(key: str, counts: bool) -> None:
    assert (("x.yml",) if counts else ()) == imports_of("a.yml", {key: "x.yml"})


def test_the_files_keep_the_order_of_the_document_and_occur_once() -> None:
    values: Values = {
        "spring.config.import[0]": "b.yml;a.yml",
        "c": "z.yml",
        "spring.config.import[1]": "c.yml, b.yml ,./a.yml",
    }

    assert ("b.yml", "a.yml", "c.yml") == imports_of("x.yml", values)


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("a.yml", "x.yml", "x.yml"),
        ("a.yml", " optional:x.yml ", "x.yml"),
        ("a.yml", "sub/../x.yml", "x.yml"),
        ("a.yml", "./x.yml", "x.yml"),
        ("a.yml", "..x.yml", ""),
        ("dir/a.yml", "x.yml", "dir/x.yml"),
        ("dir/a.yml", "optional:sub/x.yml", "dir/sub/x.yml"),
        ("dir/a.yml", "../x.yml", "x.yml"),
        ("dir/sub/a.yml", "../../x.yml", "x.yml"),
        ("dir/a.yml", "x//y.yml", "dir/x/y.yml"),
    ],
)
def test_a_relative_path_starts_at_the_directory_of_its_file(path: str, target: str, found: str) -> None:
    assert ((found,) if found else ()) == imports_of(path, {"spring.config.import": target})


@pytest.mark.parametrize(
    "target",
    [
        "",
        " ",
        "optional:",
        "/etc/passwd",
        "optional:/etc/passwd",
        "file:x.yml",
        "file:///etc/passwd",
        "optional:file:x.yml",
        "optional:optional:x.yml",
        "OPTIONAL:x.yml",
        "configserver:",
        "https://h/x.yml",
        "..",
        "../x.yml",
        "dir/../../x.yml",
        "sub/",
        "./",
    ],
)
def test_P01_nothing_outside_of_the_source_is_imported(target: str) -> None:
    assert () == imports_of("a.yml", {"spring.config.import": target})
    assert ("x.yml",) == imports_of("a.yml", {"spring.config.import": f"{target},x.yml"})


def test_P01_a_file_in_a_directory_imports_nothing_above_the_root() -> None:
    assert () == imports_of("dir/a.yml", {"spring.config.import": "../../x.yml"})


@pytest.mark.parametrize(("value", "found"), [(True, "True"), (7, "7"), (None, "None"), (1.5, "1.5")])
def test_a_value_that_is_no_text_is_a_name(value: Scalar, found: str) -> None:
    assert (found,) == imports_of("a.yml", {"spring.config.import": value})


@pytest.mark.parametrize(
    ("path", "profile", "found"),
    [
        ("x.yml", "dev", "x-dev.yml"),
        ("dir/x.tar.gz", "dev", "dir/x.tar-dev.gz"),
        ("x.yml", "", "x.yml"),
        ("x.yml", "a-b", "x-a-b.yml"),
    ],
)
def test_a_file_for_a_profile_has_the_profile_before_its_extension(path: str, profile: str, found: str) -> None:
    assert found == for_profile(path, profile)
