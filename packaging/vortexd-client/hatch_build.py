"""Maps modules of vortexd into the package vortexd_client, whose imports are relative, and gives it the links of vortexd.

A checkout has them in ../../vortexd. A source distribution holds them already, in their place.
"""

import runpy
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class SharedModules(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the modules that pyproject.toml names to a wheel or a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            raise ValueError("vortexd-client can't be installed in place; install vortexd, which has the same client")
        if Path(self.root, "PKG-INFO").exists():
            return
        for module in self.config["modules"]:
            build_data["force_include"][f"../../vortexd/{module}"] = f"vortexd_client/{module}"


class Links(MetadataHookInterface):
    """Sets the links to those of vortexd. A source distribution has them already."""

    def update(self, metadata: dict[str, Any]) -> None:
        checkout = Path(self.root, "../..")
        settings = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
        make = runpy.run_path(str(checkout / "packaging/index_metadata.py"))["urls"]
        metadata["urls"] = make(settings["metadata"]["hooks"]["custom"]["repository"])
