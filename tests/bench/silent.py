"""The cost of silent peers: memory, and the answer times of /health and of an earlier WebSocket client, compared with an undisturbed run.

python -m tests.bench silent [--kind KIND] [--clients 1000] [--addresses 1]
python -m tests.bench silent --honest 5000
"""

import argparse
import contextlib
import ssl
import tempfile
import time
from pathlib import Path

from vortexd.ctl.load import Clients

from ..certificates import make
from ..system.crowd import KINDS, Crowd, Probe, Storm
from ..system.process import Server
from .report import report

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
{more}
[[source]]
path = "{source}"
quiet = 0.02
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--kind", choices=KINDS, default="silent")
    parser.add_argument("--addresses", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--descriptors", type=int, help="what RLIMIT_NOFILE allows")
    parser.add_argument("--tls", action="store_true", help="with the honest ones")
    parser.add_argument("--honest", type=int, help="in place of all that, so many handshakes at once")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        save(source, 0)
        more, context, before = "", None, b""
        if arguments.tls or arguments.kind in ("tls", "hello"):
            certificate, key = make(Path(directory))
            more = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
            context = ssl.create_default_context(cafile=str(certificate))
        elif "proxy" in arguments.kind:
            more = 'trusted_proxies = ["127.0.0.0/8"]\nproxy_protocol = true\n[auth]\nopen = true'
            before = b"PROXY TCP4 198.51.100.1 127.0.0.1 4321 80\r\n"
        prefix = ["prlimit", f"--nofile={arguments.descriptors}"] if arguments.descriptors else []
        settings = SETTINGS.format(source=source, more=more)
        with Server(source, settings=settings, prefix=prefix) as server:
            witness = None
            if not context and not before:
                witness = Clients("127.0.0.1", server.port)
                witness.connect(1, lambda _: "/ws/billing/prod")
            with Probe(server.port, context, before) as probe:
                time.sleep(1)
            report("/health, undisturbed", probe.times)
            size = server.private_bytes()
            with contextlib.ExitStack() as stack:
                probe = stack.enter_context(Probe(server.port, context, before))
                if arguments.honest:
                    storm = Storm(server.port, arguments.honest, context)
                    storm.run()
                    text = f"{storm.opened} of {arguments.honest} opened in {storm.seconds:.1f} s"
                    print(f"{text}; refused: {storm.refused[:3]}")
                else:
                    crowd = stack.enter_context(
                        Crowd(server.port, arguments.clients, arguments.kind, arguments.addresses)
                    )
                    times = watch(witness, source, arguments.seconds)
            if not arguments.honest:
                text = f"{arguments.clients} of kind {arguments.kind} from {arguments.addresses} addresses"
                print(f"{text}: {crowd.closed} closed by the server, answered with {set(crowd.statuses)}")
                if times:
                    report("a change to the witness", times)
            growth = server.private_bytes() - size
            report("/health meanwhile", probe.times)
            print(f"    slowest {max(probe.times, default=0) * 1e3:.0f} ms; failed: {probe.failures[:3]}")
            count = arguments.honest or arguments.clients
            print(f"    private memory: {growth / 1e6:+.1f} MB, {growth / count:.0f} B each")
            server.stop()


def watch(witness: Clients | None, source: Path, seconds: float) -> list[float]:
    """Return the times from rename to the observing client, for a change every half second."""
    times: list[float] = []
    for number in range(1, int(seconds / 0.5) + 1):
        began = time.monotonic()
        if witness is not None:
            save(source, number)
            times += [moment - began for moment in witness.wait(f'"value":{number}'.encode(), 60)]
        time.sleep(max(0, began + 0.5 - time.monotonic()))
    return times


def save(source: Path, number: int) -> None:
    """Replace the document."""
    temporary = source / ".new"
    temporary.write_text(f"number: {number}\n")
    temporary.rename(source / "billing.yml")
