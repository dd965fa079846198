"""Makes the metadata that a package index shows: the project's links, and the README with absolute links.

An index shows the README without the files beside it. So each relative link gets the address of that file in the repository, at the tag of
the version, and each picture the address of its bytes. The address of the repository stands only in pyproject.toml, at the table of this hook.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# The target of a link or picture that has no scheme and isn't a heading of the same page.
_RELATIVE = re.compile(r"(!?)(\[[^\]]*\]\()(?![a-z]+:|#)([^)\s]+)(?=\))")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def urls(repository: str) -> dict[str, str]:
    """Return the project's links by their names."""
    return {
        "Repository": repository,
        "Documentation": f"{repository}/blob/main/README.md",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def absolute(text: str, repository: str, version: str) -> str:
    """Return a Markdown text of the repository's root with absolute links. Code stays as it is."""

    def link(found: re.Match[str]) -> str:
        picture, label, path = found.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}{label}{repository}/{kind}/v{version}/{path}"

    parts = _CODE.split(text)
    return "".join(part if at % 2 else _RELATIVE.sub(link, part) for at, part in enumerate(parts))


class IndexMetadata(MetadataHookInterface):
    """Sets the links, and the README with absolute links."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository = self.config["repository"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["urls"] = urls(repository)
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, repository, metadata["version"]),
        }
