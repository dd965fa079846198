"""One of several workers, which `process.starter` starts as `python -m vortexd.cli.worker`. It is a whole daemon, on sockets bound for it.

The same program is the fork server: a process that has imported everything, and forks the workers (see `process.fork_server`).

Its supervisor ends it; if the supervisor has gone, the worker ends by itself. It leaves SIGTERM and SIGINT to the supervisor, so that a terminal's Ctrl-C or a
`kill` of the whole group begins only one drain. As in `__main__`, signal handlers are set up before the other imports.
"""

import os
import sys

from ..process import early_signals, imports

# The modules that every worker needs, and those that it would import for some clients. All workers share their memory.
_MODULES = (
    "cattrs",
    "vortexd.daemon",
    "vortexd.http.adapter.hypercorn",
    "vortexd.http.http2",
    "vortexd.http.watchers",
    "vortexd.observe.exposition",
    "vortexd.realtime.events.opening",
    "vortexd.state.shared_secret",
)


def main() -> int:
    """Run a worker, and return its exit status."""
    early_signals.begin_worker()
    with imports.uncollected():
        import structlog

        from ..process import assignment as post
        from ..process import fork_server
        from . import main as cli

    request = fork_server.take_request(os.environ)
    if request is not None:
        control, modules = request
        # Without a worker's part this is the end: the supervisor has gone.
        if not fork_server.serve(control, [*_MODULES, *modules], os.environ):
            return 0
    try:
        taken = post.take_assignment(os.environ)
    except KeyError:
        print("vortexd: error: only vortexd can start a worker; see server.workers", file=sys.stderr)
        return 2
    structlog.contextvars.bind_contextvars(worker=taken.slot.number)
    return cli.work(sys.argv[1:], taken)


if __name__ == "__main__":
    sys.exit(main())
