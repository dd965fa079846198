"""Paths and queries of Spring's routes."""

import contextlib

import pytest

from vortexd.core.errors import InvalidName, RemoteError
from vortexd.http.spring.config_request import ConfigRequest, Form, parse_path

P = pytest.param
ENVIRONMENT, FILE, YAML = Form.ENVIRONMENT, Form.FILE, Form.YAML


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/foo/dev", ConfigRequest(ENVIRONMENT, "foo", "dev")),
        ("/foo/dev,mysql", ConfigRequest(ENVIRONMENT, "foo", "dev,mysql")),
        ("/foo%2Cbar/dev%2Cmysql", ConfigRequest(ENVIRONMENT, "foo,bar", "dev,mysql")),
        ("/foo(_)app/default", ConfigRequest(ENVIRONMENT, "foo/app", "default")),
        ("/foo/dev-yml", ConfigRequest(ENVIRONMENT, "foo", "dev-yml")),
        ("/foo/dev.jsonx", ConfigRequest(ENVIRONMENT, "foo", "dev.jsonx")),
        ("/foo/dev/1.0.0", ConfigRequest(ENVIRONMENT, "foo", "dev", "1.0.0")),
        ("/foo/dev/v1.2.3+build.5", ConfigRequest(ENVIRONMENT, "foo", "dev", "v1.2.3+build.5")),
        ("/foo/dev/v1.2.3%2Bbuild.5", ConfigRequest(ENVIRONMENT, "foo", "dev", "v1.2.3+build.5")),
        ("/foo/dev/npm(_)@types(_)node", ConfigRequest(ENVIRONMENT, "foo", "dev", "npm/@types/node")),
        ("/npm(_)%40types/foo-dev.yml", ConfigRequest(YAML, "foo", "dev", "npm/@types")),
        ("/foo/dev/v1+b/x.txt", ConfigRequest(FILE, "foo", "dev", "v1+b", "x.txt")),
        ("/foo/dev/x.yml", ConfigRequest(ENVIRONMENT, "foo", "dev", "x.yml")),
        ("/foo/dev/one,two", ConfigRequest(ENVIRONMENT, "foo", "dev", "one,two")),
        ("/foo/dev/one(_)x%2Ctwo", ConfigRequest(ENVIRONMENT, "foo", "dev", "one/x,two")),
        ("/foo/dev?useDefaultLabel", ConfigRequest(ENVIRONMENT, "foo", "dev")),
        ("/foo-default.properties", ConfigRequest(Form.PROPERTIES, "foo", "default")),
        ("/foo-bar-default.yml", ConfigRequest(YAML, "foo-bar", "default")),
        ("/foo-default.yaml", ConfigRequest(YAML, "foo", "default")),
        ("/foo-default.json", ConfigRequest(Form.JSON, "foo", "default")),
        ("/foo-a.b.json", ConfigRequest(Form.JSON, "foo", "a.b")),
        ("/foo-dev,mysql.yml", ConfigRequest(YAML, "foo", "dev,mysql")),
        ("/label/foo-default.yml", ConfigRequest(YAML, "foo", "default", "label")),
        ("/label(_)spam/foo-default.properties", ConfigRequest(Form.PROPERTIES, "foo", "default", "label/spam")),
        ("/one%2Ctwo/foo-default.yml", ConfigRequest(YAML, "foo", "default", "one,two")),
        ("/foo-dev.yml?resolvePlaceholders=false", ConfigRequest(YAML, "foo", "dev", resolves=False)),
        ("/foo-dev.yml?resolvePlaceholders=NO", ConfigRequest(YAML, "foo", "dev", resolves=False)),
        ("/foo-dev.yml?resolvePlaceholders=&token=x", ConfigRequest(YAML, "foo", "dev")),
        ("/foo-dev.properties?escape=true", ConfigRequest(Form.PROPERTIES, "foo", "dev", escapes=True)),
        ("/foo-dev.yml?escape=true", ConfigRequest(YAML, "foo", "dev")),
        ("/foo/dev/main/x.txt", ConfigRequest(FILE, "foo", "dev", "main", "x.txt")),
        ("/foo/dev/main/a/b/c.yml", ConfigRequest(FILE, "foo", "dev", "main", "a/b/c.yml")),
        ("/foo/dev/main/a%2Fb(_)c", ConfigRequest(FILE, "foo", "dev", "main", "a/b/c")),
        ("/foo/dev/main/gr%C3%BC%C3%9F%20x.txt", ConfigRequest(FILE, "foo", "dev", "main", "grüß x.txt")),
        ("/foo/dev/x.txt?useDefaultLabel", ConfigRequest(FILE, "foo", "dev", None, "x.txt")),
        ("/foo/dev/a/b/x.txt?useDefaultLabel=", ConfigRequest(FILE, "foo", "dev", None, "a/b/x.txt")),
        ("/foo/dev/main/x?resolvePlaceholders=0", ConfigRequest(FILE, "foo", "dev", "main", "x", resolves=False)),
    ],
)
def test_a_path_is_taken_apart_as_spring_does(target: str, wanted: ConfigRequest) -> None:
    path, _, query = target.partition("?")

    assert wanted == parse_path(path, query)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/foo",
        "/foo.yml",
        "/foo-dev.xml",
        "/foo/dev.yml",
        "/foo/dev.yml.x",
        "/foo/dev.properties",
        "//dev",
        "/foo/dev/main/",
        "/foo//main/x",
        "/foo/dev/main/a//b",
        "/foo/dev/main/.git/config",
        "/foo/dev/main/META-INF/x",
    ],
)
def test_what_is_no_route_is_none(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize(
    "target",
    [
        "/foo/..",
        "/foo/bar,..,foo",
        "/foo/%2e%2e",
        "/foo/bar%2Ffoo",
        "/foo%23x/dev",
        "/foo,/dev",
        "/foo/dev,",
        "/foo/dev/(_)x",
        "/foo/dev/one,",
        "/foo/dev/one,..",
        "/..%2Fx-dev.yml",
        "/-dev.yml",
        "/foo-.yml",
        "/../foo-dev.yml",
        "/(_)x/foo-dev.yml",
        "/foo/../main/x.txt",
        "/foo/dev/..%2F../x.txt",
        "/foo/dev/main/a(_)../x.txt",
        P("/foo/dev/" + ",".join("b" * 17), id="P15"),
        P("/foo/dev/main/" + "x" * 1_025, id="P15 path"),
    ],
)
def test_a_name_that_can_not_be_one_is_400(target: str) -> None:
    with pytest.raises(InvalidName):
        parse_path(target)


@pytest.mark.parametrize("target", ["/foo-dev.yml?resolvePlaceholders=perhaps", "/foo-dev.properties?escape=2"])
def test_a_parameter_is_true_or_false(target: str) -> None:
    path, _, query = target.partition("?")
    with pytest.raises(RemoteError) as caught:
        parse_path(path, query)

    assert 400 == caught.value.status


def test_the_label_of_a_key_is_what_was_named_or_the_default() -> None:
    named, plain = ConfigRequest(ENVIRONMENT, "foo", "dev", "x"), ConfigRequest(ENVIRONMENT, "foo", "dev")

    assert ["x", "main"] == [each.key("main").label for each in (named, plain)]


@pytest.mark.parametrize("path", ["/" + "-" * 200_000, "/foo/" + "-." * 100_000, "/" + "-a.yml" * 30_000 + "."])
def test_P15_a_long_path_costs_no_more_than_its_length(path: str) -> None:
    with pytest.raises(InvalidName) if path.count("/") > 1 else contextlib.nullcontext():
        assert parse_path(path) is None
