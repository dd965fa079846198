"""The page on a package index: its links are absolute, and the address of the project stands in one file."""

import re
import runpy
import subprocess
import tomllib
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import vortexd

from .building import CLIENT, ROOT, build, contents

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ADDRESS = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
SCRIPT = runpy.run_path(str(ROOT / "packaging/index_metadata.py"))
FILES = f"{ADDRESS}/blob/v{vortexd.__version__}"


def absolute(text: str) -> str:
    return str(SCRIPT["absolute"](text, "https://host.example/it", "1.2"))


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    wheel = build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))
    return BytesParser().parsebytes(contents(wheel)[f"vortexd-{vortexd.__version__}.dist-info/METADATA"])


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("[a](man/a.8)", "[a](https://host.example/it/blob/v1.2/man/a.8)"),
        ("![a](a.png)", "![a](https://host.example/it/raw/v1.2/a.png)"),
        (
            "([a](b), [c](d#e))",
            "([a](https://host.example/it/blob/v1.2/b), [c](https://host.example/it/blob/v1.2/d#e))",
        ),
        ("[a](https://etcd.io)", "[a](https://etcd.io)"),
        ("[a](mailto:a@b.example)", "[a](mailto:a@b.example)"),
        ("[a](#below)", "[a](#below)"),
        ("`[a](b)`", "`[a](b)`"),
        ("```\n[a](b)\n```\n[c](d)", "```\n[a](b)\n```\n[c](https://host.example/it/blob/v1.2/d)"),
    ],
)
def test_relative_links_get_the_address_of_the_file_at_the_version(text: str, made: str) -> None:
    assert made == absolute(text)


def test_the_page_of_vortexd_is_the_readme_with_absolute_links(metadata: Message) -> None:
    page = bytes(metadata.get_payload(decode=True)).decode()
    readme = (ROOT / "README.md").read_text()

    assert "text/markdown" == metadata["Description-Content-Type"]
    assert readme == page.replace(f"{FILES}/", "").replace(FILES.replace("/blob/", "/raw/") + "/", "")
    assert [] == re.findall(r"\]\((?!https?:|#)[^)]*\)", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    assert f"]({FILES}/man/vortexd-operations.7)" in page
    assert f"]({FILES.replace('/blob/', '/raw/')}/conf/console.png)" in page


def test_it_names_authors_keywords_and_the_pythons(metadata: Message) -> None:
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier", [])))

    assert "The vortexd maintainers" == metadata["Author"]
    assert "spring-cloud-config" in metadata["Keywords"].split(",")
    assert ["3.11", "3.12", "3.13"] == pythons
    for project in (CLIENT, ROOT / "packaging/native"):
        classifiers = tomllib.loads((project / "pyproject.toml").read_text())["project"]["classifiers"]
        assert pythons == re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))


def test_vortexd_and_its_client_have_the_same_links(
    metadata: Message, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wheel = build(CLIENT, "wheel", tmp_path_factory.mktemp("client"))
    name = f"vortexd_client-{vortexd.__version__}.dist-info/METADATA"
    client = BytesParser().parsebytes(contents(wheel)[name])
    links = dict(each.split(", ") for each in metadata.get_all("Project-URL", []))

    assert metadata.get_all("Project-URL") == client.get_all("Project-URL")
    assert {"Repository", "Documentation", "Changelog", "Issues"} == links.keys()
    assert ADDRESS == links["Repository"]


def test_the_address_stands_in_one_file() -> None:
    tracked = subprocess.run(["git", "grep", "-lF", ADDRESS], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode > 1:
        pytest.skip("this is no checkout")

    assert ["pyproject.toml"] == tracked.stdout.split()


def test_a_link_of_a_readme_without_files_beside_it_is_absolute() -> None:
    """An index shows the other READMEs as they are."""
    for readme in (CLIENT / "README.md", ROOT / "packaging/native/README.md"):
        assert [] == re.findall(r"\]\((?!https?:)", Path(readme).read_text())
