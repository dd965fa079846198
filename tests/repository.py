"""A bare git repository to which tests push. `git fast-import` makes its commits, without a work tree."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class Repository:
    """A bare repository at a path; made where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._time = 1_700_000_000
        if not path.exists():
            self.git("init", "--quiet", "--bare", "--initial-branch=main", str(path), directory=None)

    @property
    def uri(self) -> str:
        return f"file://{self.path}"

    def git(self, *arguments: str, input: bytes | bytearray = b"", directory: Path | None = Path(".")) -> str:
        """Run git in the repository, and return what it printed."""
        place = [] if directory is None else ["-C", str(self.path)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        environment |= {
            f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        command = ["git", "-c", f"safe.directory={self.path}", *place, *arguments]
        return subprocess.run(command, input=input, capture_output=True, check=True, env=environment).stdout.decode()

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        branch: str = "main",
        *,
        author: str = "Ada Lovelace <ada@example.org>",
        parent: str | None = "",
        modes: Mapping[str, str] | None = None,
        message: str = "x",
    ) -> str:
        """Change files on a branch (None deletes one), and return the commit.

        Args:
            parent: A ref or commit; "" is the branch as it is, None is nothing: history is rewritten.
            modes: Path to its mode, where it is no regular file; the text of a 160000 is a commit.
        """
        ref = f"refs/heads/{branch}"
        if parent == "":
            parent = ref if self.has(ref) else None
        self._time += 1
        stream = bytearray(b"reset %s\n" % ref.encode())
        stream += f"commit {ref}\nauthor {author} {self._time} +0100\ncommitter {author} {self._time} +0100\n".encode()
        stream += f"data {len(message.encode())}\n{message}\n".encode()
        stream += f"from {self.git('rev-parse', parent).strip()}\n".encode() if parent else b""
        for path, text in files.items():
            mode = (modes or {}).get(path, "100644")
            if text is None:
                stream += f"D {path}\n".encode()
            elif mode == "160000":
                stream += f"M {mode} {text!s} {path}\n".encode()
            else:
                data = text if isinstance(text, bytes) else text.encode()
                stream += f"M {mode} inline {path}\ndata {len(data)}\n".encode()
                stream += data + b"\n"
        self.git("fast-import", "--quiet", "--force", input=stream)
        return self.git("rev-parse", ref).strip()

    def has(self, ref: str) -> bool:
        return bool(self.git("for-each-ref", ref))
