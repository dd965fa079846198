"""Published clients of Spring Cloud Config against the real daemon, unchanged: from the Python and npm registries, and Spring Boot's own.

The tests install them once, into pytest's cache. If that isn't possible (no registry, no node, no Maven, or not within `SECONDS`), the tests are skipped
and give the reason. A build that fails is a failure.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import Request, urlopen

import attrs
import pytest

from vortexd.auth.tokens import digest_of, new_token

from .process import Server

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PYTHON = ("config-client==1.5.0", "spring-config-client-python==0.1.3", "spring-centralized-config-client==2.0")
NODE = ("cloud-config-client@1.6.2",)
# The longest times for an installation, and for a client.
SECONDS = 120
CLIENT_SECONDS = 60
# The output of package managers if the registry fails.
_UNREACHABLE = re.compile(
    r"could not resolve|could not transfer|non-resolvable|unknown host|connection|timed? ?out|no matching distribution|ENOTFOUND|EAI_AGAIN|ECONN",
    re.IGNORECASE,
)
CIPHERTEXT_KEY = "a-password-for-tests\n"


@attrs.frozen
class Serving:
    """A running server, and a token with the rights read and admin."""

    server: Server
    source: Path
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def read(self, path: str) -> bytes:
        request = Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def change(self, path: str, text: str) -> None:
        """Write a file, and wait until the configuration has changed."""
        before = self.read("/shop/dev,eu/release")
        (self.source / path).write_text(text)
        wait_for(lambda: self.read("/shop/dev,eu/release") != before)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    source = tmp_path / "config"
    files = {
        "application.yml": "shared: true\n",
        "shop.yml": "greeting: hello\nserver: {hosts: [a, b], timeout: 1.5}\n",
        "shop-dev.yml": "greeting: hello dev\n",
        "shop-eu.yml": "currency: EUR\n",
        "motd.txt": "${greeting}!\n",
        "release/shop-dev.yml": "greeting: hello release\n",
    }
    for name, text in files.items():
        (source / name).parent.mkdir(exist_ok=True, parents=True)
        (source / name).write_text(text)
    token = new_token()
    entry = f'[[token]]\nname = "clients"\nsha256 = "{digest_of(token)}"\n'
    put(tmp_path / "tokens.toml", entry + 'rights = ["read", "admin"]\npatterns = ["*"]\n')
    put(tmp_path / "key", CIPHERTEXT_KEY)
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n[[source]]\npath = "{source}"\nlabel_directories = true\n'
    settings += '[auth]\ntokens = ["tokens.toml"]\n[encryption]\nkey_file = "key"\n'
    with Server(source, settings=settings) as server:
        yield Serving(server, source, token)


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def wait_for(is_true: Callable[[], object]) -> None:
    """Wait for a condition that nothing signals."""
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "it hasn't happened"
        time.sleep(0.05)


# Installations.


def installed(config: pytest.Config, name: str, parts: Sequence[str], install: Callable[[Path], None]) -> Path:
    """Return a directory of pytest's cache that `install` has filled. The same parts are installed only once."""
    directory = config.cache.mkdir("spring-clients") / f"{name}-{sha256(repr(parts).encode()).hexdigest()[:12]}"
    done = directory / "done"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        install(directory)
        done.touch()
    return directory


def run(command: Sequence[str | Path], directory: Path) -> None:
    """Run a command that installs something; skip the test if that isn't possible here."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        skip(f"{Path(command[0]).name} didn't finish in {SECONDS} s; what it has downloaded so far is kept")
    if done.returncode != 0:
        output = done.stdout + done.stderr
        if _UNREACHABLE.search(output):
            skip(f"{Path(command[0]).name} can't download: {output.strip().splitlines()[-1][:200]}")
        raise AssertionError(output)


def skip(reason: str) -> NoReturn:
    pytest.skip(f"published clients: {reason}")


def found(program: str) -> str:
    return shutil.which(program) or skip(f"there is no {program}")


@pytest.fixture
def python(pytestconfig: pytest.Config) -> Path:
    """Return the interpreter of an environment with the Python clients."""

    def install(directory: Path) -> None:
        run([sys.executable, "-m", "venv", directory], directory)
        run([directory / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *PYTHON], directory)

    return installed(pytestconfig, "python", [sys.version, *PYTHON], install) / "bin" / "python"


@pytest.fixture
def node_modules(pytestconfig: pytest.Config) -> Path:
    found("node")
    npm = found("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--no-save", *NODE]
    return installed(
        pytestconfig, "node", NODE, lambda directory: run([*command, "--prefix", str(directory)], directory)
    )


@pytest.fixture
def spring_boot(pytestconfig: pytest.Config) -> Path:
    """Return the Spring Boot application of `spring_boot/`, as a jar."""
    found("java")
    maven = found("mvn")
    project = HERE / "spring_boot"

    def install(directory: Path) -> None:
        shutil.copytree(project, directory, dirs_exist_ok=True)
        run([maven, "-q", "-B", "package"], directory)

    texts = [path.read_text() for path in sorted(project.rglob("*")) if path.is_file()]
    return installed(pytestconfig, "spring-boot", texts, install) / "target" / "config-client.jar"


# Clients for Python and Node.


def told(command: Sequence[str | Path], serving: Serving, **environment: str) -> Any:
    """Return the JSON output of a script; its environment holds URL and TOKEN."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        env={**os.environ, "URL": serving.url, "TOKEN": serving.token, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CONFIG_CLIENT = """
import json, os
from config.spring import ConfigClient
auth = ("any", os.environ["TOKEN"])
client = ConfigClient(address=os.environ["URL"], app_name="shop", profile="dev,eu", label="release", fail_fast=True)
client.get_config(auth=auth)
secret = client.encrypt("s3cret", auth=auth)
print(json.dumps({
    "config": client.config,
    "greeting": client.get("greeting"),
    "file": client.get_file("motd.txt", auth=auth),
    "decrypted": client.decrypt(secret, auth=auth),
}))
"""


def test_config_client_for_python(python: Path, serving: Serving) -> None:
    """config-client: its merged configuration, a plain file, `/encrypt` and `/decrypt`."""
    found = told([python, "-c", CONFIG_CLIENT], serving)

    config = found["config"]
    assert ("hello release", "EUR", True) == (config["greeting"], config["currency"], config["shared"])
    assert 1.5 == config["server"]["timeout"]
    assert "hello release" == found["greeting"]
    assert "hello release!\n" == found["file"]
    assert "s3cret" == found["decrypted"]


def test_config_client_for_python_fails_fast_without_a_token(python: Path, serving: Serving) -> None:
    script = CONFIG_CLIENT.replace("auth=auth", "timeout=10")
    done = subprocess.run(
        [python, "-c", script],
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        env={**os.environ, "URL": serving.url, "TOKEN": "x"},
    )

    assert 1 == done.returncode
    assert "fail_fast enabled. Terminating process." in done.stderr


SPRING_CONFIG_CLIENT = """
import json, os
from spring_config_client import SpringConfigClient
client = SpringConfigClient(os.environ["URL"], "shop", "dev,eu", username="any", password=os.environ["TOKEN"])
merged = client.fetch_and_load()
print(json.dumps({"merged": merged, "variable": os.environ["server.hosts[1]"]}))
"""


def test_spring_config_client_python(python: Path, serving: Serving) -> None:
    """spring-config-client-python: flat keys, in its environment as well."""
    found = told([python, "-c", SPRING_CONFIG_CLIENT], serving)

    expected = {"shared": True, "greeting": "hello dev", "currency": "EUR"}
    expected |= {"server.hosts[0]": "a", "server.hosts[1]": "b", "server.timeout": 1.5}
    assert expected == found["merged"]
    assert "b" == found["variable"]


CENTRALIZED = """
import json, os
from spring_centralized_config_client.client import SpringCentralizedConfigClient
client = SpringCentralizedConfigClient(
    "shop", "dev", "release", os.environ["URL"], auth_required=True, username="any", password=os.environ["TOKEN"]
)
print(json.dumps(client.get_config()))
"""


def test_spring_centralized_config_client(python: Path, serving: Serving) -> None:
    """spring-centralized-config-client takes the first source, which is the strongest one."""
    assert {"greeting": "hello release"} == told([python, "-c", CENTRALIZED], serving)


CLOUD_CONFIG_CLIENT = """
const { load } = require('cloud-config-client')
const ask = { endpoint: process.env.URL, name: 'shop', auth: { user: 'any', pass: process.env.TOKEN } }
async function main () {
  const config = await load({ ...ask, profiles: ['dev', 'eu'], label: 'release' })
  const found = { host: config.get('server.hosts[1]'), properties: config.properties }
  found.plain = (await load(ask)).get('greeting')
  found.unknown = await load({ ...ask, label: 'nowhere' }).catch(error => error.message)
  found.wrong = await load({ ...ask, auth: { user: 'any', pass: 'x' } }).catch(error => error.message)
  console.log(JSON.stringify(found))
}
main()
"""


def test_cloud_config_client_for_node(node_modules: Path, serving: Serving) -> None:
    """cloud-config-client, which writes commas as `%2C`."""
    command = ["node", "-e", CLOUD_CONFIG_CLIENT]
    found = told(command, serving, NODE_PATH=str(node_modules / "node_modules"))

    expected = {"shared": True, "greeting": "hello release", "currency": "EUR"}
    expected |= {"server.hosts[0]": "a", "server.hosts[1]": "b", "server.timeout": 1.5}
    assert expected == found["properties"]
    assert ("b", "hello") == (found["host"], found["plain"])
    assert ("Invalid response: 404", "Invalid response: 401") == (found["unknown"], found["wrong"])


# Spring Boot.


@attrs.frozen
class Application:
    """A running Spring Boot application."""

    process: "subprocess.Popen[str]"
    log: Path

    @property
    def port(self) -> int | None:
        """Return its port, or None until it listens."""
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"Tomcat started on port (\d+)", self.log.read_text())
        return int(found[1]) if found else None

    def value(self, key: str) -> str:
        """Return its value of a key."""
        with urlopen(f"http://127.0.0.1:{self.port}/value?of={key}", timeout=10) as answer:
            text: bytes = answer.read()
        return text.decode()

    def refresh(self) -> list[str]:
        """Make it request its configuration again, and return the keys that changed."""
        request = Request(f"http://127.0.0.1:{self.port}/actuator/refresh", b"", {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            keys: list[str] = json.load(answer)
        return keys


@contextlib.contextmanager
def application(jar: Path, directory: Path, serving: Serving, **more: str) -> Iterator[Application]:
    """Start the application with the server as its source of configuration. The token is in its environment, so `ps` doesn't show it."""
    settings: Mapping[str, str] = {
        "SERVER_ADDRESS": "127.0.0.1",
        "SERVER_PORT": "0",
        "SPRING_APPLICATION_NAME": "shop",
        "SPRING_PROFILES_ACTIVE": "dev,eu",
        "SPRING_CONFIG_IMPORT": f"configserver:{serving.url}",
        "SPRING_CLOUD_CONFIG_USERNAME": "any",
        "SPRING_CLOUD_CONFIG_PASSWORD": serving.token,
        "SPRING_CLOUD_CONFIG_LABEL": "release",
        "SPRING_CLOUD_CONFIG_FAIL_FAST": "true",
        "MANAGEMENT_ENDPOINTS_WEB_EXPOSURE_INCLUDE": "refresh",
        **more,
    }
    log = directory / "application.log"
    command = ["java", "-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(jar)]
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=directory, env={**os.environ, **settings}, text=True
        )
    try:
        yield Application(process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def test_a_spring_boot_application_starts_from_it_and_refreshes(
    spring_boot: Path, serving: Serving, tmp_path: Path
) -> None:
    """It tries its labels in order until one exists: 404 makes it try the next."""
    with application(spring_boot, tmp_path, serving, SPRING_CLOUD_CONFIG_LABEL="nowhere,release") as running:
        wait_for(lambda: running.port is not None)

        assert "hello release" == running.value("greeting")
        assert ["EUR", "true", "b", "1.5"] == [
            running.value(key) for key in ("currency", "shared", "server.hosts%5B1%5D", "server.timeout")
        ]

        serving.change("release/shop-dev.yml", "greeting: good evening\n")

        assert "hello release" == running.value("greeting")
        assert ["greeting"] == running.refresh()
        assert "good evening" == running.value("greeting")


def test_a_spring_boot_application_that_fails_fast_ends_where_it_is_not_let_in_or_there_is_no_such_label(
    spring_boot: Path, serving: Serving, tmp_path: Path
) -> None:
    for number, (name, value) in enumerate(
        {"SPRING_CLOUD_CONFIG_PASSWORD": "wrong", "SPRING_CLOUD_CONFIG_LABEL": "nowhere"}.items()
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        with application(spring_boot, directory, serving, **{name: value}) as running:
            assert 1 == running.process.wait(CLIENT_SECONDS)
        assert "Could not locate PropertySource" in running.log.read_text()
