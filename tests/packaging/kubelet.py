"""Runs the containers of a pod from the image's files, with bubblewrap, as kubelet would: its user, its volumes, a read-only root.

It needs root, bwrap, and the unpacked image. ConfigMaps and Secrets are mounted as kubelet does it: the files are in a directory with a timestamp,
`..data` is a link to it, and the names are links through `..data`. An update replaces that one link. The network is the machine's own, because
a pod's network needs a cluster.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Spec = Mapping[str, Any]
# The environment of the image; see the Containerfile.
ENVIRONMENT = {
    "PATH": "/opt/vortexd/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "STATE_DIRECTORY": "/var/lib/vortexd",
    "CREDENTIALS_DIRECTORY": "/run/credentials",
}


class Volume:
    """A directory with the keys of a ConfigMap or Secret."""

    def __init__(self, directory: Path, files: Mapping[str, str], mode: int, group: int) -> None:
        self.directory = directory
        self._mode = mode
        self._group = group
        self._number = 0
        directory.mkdir()
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """Replace all files at once, by a rename of the link `..data`."""
        self._number += 1
        new = self.directory / f"..2026_11_30_00_00_{self._number:02}.1"
        new.mkdir()
        for name, text in files.items():
            path = new / name
            path.write_text(text)
            path.chmod(self._mode)
            os.chown(path, 0, self._group)
        link = self.directory / "..data_tmp"
        link.symlink_to(new.name)
        link.rename(self.directory / "..data")
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        for each in self.directory.iterdir():
            if each.name.startswith("..2") and each != new:
                shutil.rmtree(each)


class Container:
    """A running container. Its program is process 1 of a namespace, so only a signal to the program itself ends it.

    Attributes:
        process: The process that waits for the program, and has its status and output.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program. If it has ended, nothing happens."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for each in children.read_text().split() if self.process.poll() is None else ():
            os.kill(int(each), number)

    def kill(self) -> str:
        """End the program at once, and return its output."""
        self.signal(signal.SIGKILL)
        output, _ = self.process.communicate(timeout=10)
        return output


class Pod:
    """A pod whose containers run on this machine.

    Args:
        image: The unpacked image.
        spec: The pod's specification.
        objects: The content of the ConfigMaps and Secrets, by name.
        directory: An empty directory for the volumes.
    """

    def __init__(self, image: Path, spec: Spec, objects: Mapping[str, Mapping[str, str]], directory: Path) -> None:
        self._image = image
        self._spec = spec
        self._security = spec["securityContext"]
        self.volumes: dict[str, Volume] = {}
        self._paths: dict[str, Path] = {}
        group = self._security["fsGroup"]
        for each in spec["volumes"]:
            path = self._paths[each["name"]] = directory / each["name"]
            if "emptyDir" in each:
                path.mkdir()
                os.chown(path, 0, group)
                path.chmod(0o2777)
                continue
            kind = each.get("configMap") or each["secret"]
            name = kind.get("name") or kind["secretName"]
            self.volumes[each["name"]] = Volume(path, objects[name], kind.get("defaultMode", 0o644), group)

    def path(self, volume: str) -> Path:
        """Return the directory of a volume."""
        return self._paths[volume]

    def start(self, name: str, arguments: Sequence[str] = (), command: Sequence[str] = ()) -> Container:
        """Start a container.

        Args:
            arguments: Arguments in place of those of the image.
            command: A command in place of the container's.
        """
        [container] = [
            each for each in [*self._spec.get("initContainers", ()), *self._spec["containers"]] if each["name"] == name
        ]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        command = [*(command or container.get("command") or ["/opt/vortexd/bin/vortexd"]), *arguments]
        process = subprocess.Popen(
            [*self._sandbox(container), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        return Container(process)

    def run(self, name: str, *command: str, seconds: float = 60) -> tuple[int, str]:
        """Run a container, or a command in its place, to its end. Return its status and its output."""
        process = self.start(name, command=command).process
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output

    def _sandbox(self, container: Spec) -> list[str]:
        user, group = self._security["runAsUser"], self._security.get("runAsGroup", self._security["runAsUser"])
        mounts = []
        for each in container["volumeMounts"]:
            source = self._paths[each["name"]]
            if "subPath" in each:
                # kubelet mounts the file itself, which never changes.
                source = Path(os.path.realpath(source / each["subPath"]))
            # As the runtime does, make the place of the mount in the image.
            place = self._image / each["mountPath"].lstrip("/")
            if "subPath" in each:
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
            mounts += ["--ro-bind" if each.get("readOnly") else "--bind", str(source), each["mountPath"]]
        return [
            *("bwrap", "--ro-bind", str(self._image), "/", "--proc", "/proc", "--dev", "/dev", *mounts),
            *("--unshare-pid", "--as-pid-1", "--die-with-parent", "--"),
            *("setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={self._security['fsGroup']}"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        ]
