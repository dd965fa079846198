"""Maps modules of vortexd into the package vortexd_client, whose imports are relative.

A checkout has them in ../../vortexd. A source distribution holds them already, in their place.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SharedModules(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the modules that pyproject.toml names to a wheel or a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            raise ValueError("vortexd-client can't be installed in place; install vortexd, which has the same client")
        if Path(self.root, "PKG-INFO").exists():
            return
        for module in self.config["modules"]:
            build_data["force_include"][f"../../vortexd/{module}"] = f"vortexd_client/{module}"
