"""Records the responses of a real Spring Cloud Config Server: `python -m tests.spring.record [SERVER ...]`.

It needs Maven and Java 17. Run it by hand. It builds the Config Server of `pom.xml`, and starts it once for each server of `requests.json`, on a free
port of 127.0.0.1. It sends the requests, and writes `answers/SERVER.json`. Without names, it records all servers. The recorded bodies contain no path
of the machine.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import oracle

_START_SECONDS = 120


def main(names: Sequence[str]) -> None:
    """Record the servers of these names."""
    with tempfile.TemporaryDirectory() as build:
        jar = _build(Path(build))
        for name in names or oracle.servers():
            with tempfile.TemporaryDirectory() as directory:
                _record(name, jar, Path(directory))


def _build(directory: Path) -> Path:
    here = Path(__file__).parent
    shutil.copy(here / "pom.xml", directory)
    shutil.copytree(here / "src", directory / "src")
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=directory, check=True)
    return directory / "target" / "config-server.jar"


def _record(name: str, jar: Path, directory: Path) -> None:
    corpus = oracle.prepare(directory)
    settings = [corpus.expand(each) for each in oracle.servers()[name]["spring"]]
    answers = {}
    with _running(jar, settings, directory) as port:
        for asked in oracle.requests(name):
            if asked.name in answers:
                raise SystemExit(f"{asked.name} is there twice")
            answers[asked.name] = corpus.ask(port, asked).to_json()
    lines = [f"  {json.dumps(key)}: {json.dumps(answer, ensure_ascii=True)}" for key, answer in answers.items()]
    oracle.ANSWERS.mkdir(exist_ok=True)
    (oracle.ANSWERS / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{name}: {len(answers)} answers")


@contextmanager
def _running(jar: Path, settings: Sequence[str], directory: Path) -> Iterator[int]:
    # The port is asked of the log, so that nobody else can have taken it meanwhile.
    log = directory / "spring.log"
    with open(log, "w") as output:
        # Spring looks for settings where it is started; of a file, unlike of a command line, it keeps their order.
        work = directory / "work"
        work.mkdir()
        lines = ["server.address=127.0.0.1", "server.port=0", *settings]
        (work / "application.properties").write_text("".join(line.replace("\\", "\\\\") + "\n" for line in lines))
        command = ["java", "-Xmx300m", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC", "-jar", str(jar)]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=work)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while (port := _port(log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Spring's server did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _port(log: str) -> int | None:
    for line in log.splitlines():
        if "Tomcat started on port " in line:
            return int(line.split("Tomcat started on port ")[1].split()[0])
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
