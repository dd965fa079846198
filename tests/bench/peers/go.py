"""Go modules: built into a directory, with their sources in it as well."""

from pathlib import Path

from .base import step, tool


def environment(cache: Path) -> dict[str, str]:
    """Return the variables for the command go."""
    return {"GOPATH": str(cache / "go"), "GOBIN": str(cache), "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw"}


def install(module: str, version: str, cache: Path) -> Path:
    """Install the program of a module, if this version isn't there yet. Returns its path."""
    go = tool("go")
    name = next(each for each in reversed(module.split("/")) if not each.startswith("v"))
    program = cache / name
    if not program.exists() or f"\t{version}\t" not in step([go, "version", "-m", program], cache):
        step([go, "install", f"{module}@{version}"], cache, environment(cache))
    return program


def build(source: Path, module: str, version: str, cache: Path) -> Path:
    """Build a program of one file that needs one module. Returns its path."""
    go = tool("go")
    program, built = cache / source.stem, cache / "built"
    manifest = f"module peer\n\ngo 1.21\n\nrequire {module} {version}\n"
    # This is what the program in the cache was built from. If it hasn't changed, no network is needed.
    text = source.read_text() + manifest
    if not program.exists() or not built.exists() or built.read_text() != text:
        (cache / "main.go").write_text(source.read_text())
        (cache / "go.mod").write_text(manifest)
        step([go, "mod", "tidy"], cache, environment(cache))
        step([go, "build", "-o", program, "."], cache, environment(cache))
        built.write_text(text)
    return program
