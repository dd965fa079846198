"""The benchmarks, one per module: python -m tests.bench NAME [options]. Figures are ratios within one run, or are printed beside a floor."""

import argparse

from . import (
    cluster,
    cluster_fleet,
    cost,
    event_transports,
    events,
    fanout,
    git,
    globs,
    handshakes,
    http,
    idle,
    lists,
    memory,
    peers,
    push,
    recover,
    registry,
    rollback,
    save,
    silent,
    slow,
    start,
    storm,
    tls,
    writers,
)

BENCHMARKS = {
    "cluster": cluster,
    "cluster_fleet": cluster_fleet,
    "cost": cost,
    "event_transports": event_transports,
    "events": events,
    "fanout": fanout,
    "git": git,
    "globs": globs,
    "handshakes": handshakes,
    "http": http,
    "idle": idle,
    "lists": lists,
    "memory": memory,
    "peers": peers,
    "push": push,
    "recover": recover,
    "registry": registry,
    "rollback": rollback,
    "save": save,
    "silent": silent,
    "slow": slow,
    "start": start,
    "storm": storm,
    "tls": tls,
    "writers": writers,
}


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        assert module.__doc__
        one = names.add_parser(name, help=module.__doc__.partition("\n")[0], description=module.__doc__)
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
