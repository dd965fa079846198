"""The entry point of `vortexd` and of `python -m vortexd`: signals come first, and then the imports, which take a moment."""

import signal
import sys

from .process import early_signals, imports


def main() -> int:
    """Run vortexd and return its exit status."""
    early_signals.begin()
    try:
        with imports.uncollected():
            from .cli.main import main

            return main()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
