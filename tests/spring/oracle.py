"""The recorded responses of a real Spring Cloud Config Server, and functions that send the same requests to another server.

`requests.json` names servers with requests to each. The settings of a server make Spring and vortexd serve the same trees of `corpus/`. `record/` sends
the requests to Spring and writes `answers/`. `test_golden.py` sends them to vortexd and compares the responses.
"""

import base64
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from ..repository import Repository

HERE = Path(__file__).parent
ANSWERS = HERE / "answers"
ROOT = "{root}"
# The members of Spring's error JSON that say something about the request, and not about the moment.
_TIMESTAMP = re.compile(rb'("timestamp":")[^"]*"')


@attrs.frozen
class Asked:
    """A request to one of the servers; its `name` is the same in every file that speaks of it."""

    server: str
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    @property
    def name(self) -> str:
        extras = [f"{name}: {value}" for name, value in self.headers] + ([self.body] if self.body else [])
        return " | ".join([f"{self.server} {self.method} {self.path}", *extras])


@attrs.frozen
class Answered:
    """What came back, without what is different each time."""

    status: int
    type: str | None
    body: bytes

    def to_json(self) -> dict[str, Any]:
        try:
            text: Any = self.body.decode()
        except UnicodeDecodeError:
            text = {"base64": base64.b64encode(self.body).decode()}
        return {"status": self.status, "type": self.type, "body": text}

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> "Answered":
        body = members["body"]
        content = body.encode() if isinstance(body, str) else base64.b64decode(body["base64"])
        return cls(members["status"], members["type"], content)


def servers() -> dict[str, dict[str, Any]]:
    """The servers by name: `spring` are properties of Spring's, `vortexd` is the text of a vortexd.toml."""
    found: dict[str, dict[str, Any]] = json.loads((HERE / "requests.json").read_text())["servers"]
    return found


def requests(server: str) -> Iterator[Asked]:
    """The requests to a server."""
    for group in json.loads((HERE / "requests.json").read_text())["requests"]:
        if group["server"] == server:
            headers = tuple(group.get("headers", {}).items())
            for path in group["paths"]:
                yield Asked(server, path, group.get("method", "GET"), headers, group.get("body", ""))


def recorded(server: str) -> dict[str, Answered]:
    """What Spring's server answered, by the names of the requests."""
    members = json.loads((ANSWERS / f"{server}.json").read_text())
    return {name: Answered.from_json(answer) for name, answer in members.items()}


@attrs.frozen
class Corpus:
    """The trees below a directory, and the commits of the repository among them."""

    root: Path
    commits: dict[str, str]

    def expand(self, text: str) -> str:
        """Put the directory and the commits in place of their names in braces."""
        for name, value in {"root": str(self.root), **self.commits}.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def ask(self, port: int, asked: Asked) -> Answered:
        """Send a request, and read what comes back."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = asked.body.encode()
        try:
            connection.putrequest(asked.method, self.expand(asked.path), skip_accept_encoding=True, skip_host=True)
            for name, value in (("Host", "localhost"), ("Connection", "close"), *asked.headers):
                connection.putheader(name, value)
            if asked.method not in ("GET", "HEAD"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            content = response.read().replace(str(self.root).encode(), ROOT.encode())
            return Answered(response.status, response.getheader("Content-Type"), _TIMESTAMP.sub(rb'\1"', content))
        finally:
            connection.close()


def prepare(root: Path) -> Corpus:
    """Lay the corpus out below an empty directory, its repository included: the same commits every time."""
    for tree in (HERE / "corpus").iterdir():
        if tree.name != "git":
            shutil.copytree(tree, root / tree.name)
    (root / "key").write_text("foo\n")
    (root / "key").chmod(0o600)
    bare = Repository(root / "bare.git")
    first = bare.commit(_files("1"))
    tagger = b"Ada Lovelace <ada@example.org> 1700000000 +0000"
    bare.git("fast-import", "--quiet", input=b"tag v1\nfrom %s\ntagger %s\ndata 1\nx\n" % (first.encode(), tagger))
    bare.git("tag", "v1.0.0", first)
    second = bare.commit(_files("2"))
    bare.commit(_files("feature"), "feature/new", parent="main")
    bare.commit(_files("release"), "release", parent=first)
    _clone(bare, root / "repository", "feature/new", "release")
    legacy = Repository(root / "legacy.git")
    legacy.git("symbolic-ref", "HEAD", "refs/heads/master")
    legacy.commit(_files("legacy"), "master")
    _clone(legacy, root / "legacy")
    return Corpus(root, {"first": first, "second": second, "short": first[:8]})


def _files(directory: str) -> dict[str, str | bytes | None]:
    top = HERE / "corpus" / "git" / directory
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def _clone(bare: Repository, path: Path, *branches: str) -> None:
    # Spring works in a repository of this machine itself, so it is one with a work tree, and without a remote.
    run = partial(subprocess.run, check=True, capture_output=True)
    run(["git", "clone", "--quiet", str(bare.path), str(path)])
    for branch in branches:
        run(["git", "-C", str(path), "branch", "--quiet", branch, f"origin/{branch}"])
    run(["git", "-C", str(path), "remote", "remove", "origin"])
