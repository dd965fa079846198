"""One of several workers: what `process.supervisor` starts as `python -m vortexd.cli.worker`. A whole daemon, on sockets that were bound for it.

It ends when its supervisor says so, or is gone; SIGTERM and SIGINT are the supervisor's, so that a terminal's Ctrl-C and a `kill` of the whole
group begin one drain and not two. As in `__main__`, signals come first, and then the imports.
"""

import os
import sys

from ..process import early_signals


def main() -> int:
    """Run a worker, and return its exit status."""
    early_signals.begin_worker()
    import structlog

    from ..process import assignment as post
    from . import main as cli

    try:
        taken = post.take_assignment(os.environ)
    except KeyError:
        print("vortexd: error: a worker is started by vortexd; see server.workers", file=sys.stderr)
        return 2
    structlog.contextvars.bind_contextvars(worker=taken.slot.number)
    return cli.work(sys.argv[1:], taken)


if __name__ == "__main__":
    sys.exit(main())
