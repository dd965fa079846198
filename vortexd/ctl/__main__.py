"""`python -m vortexd.ctl` is vortexctl."""

import sys

from .cli import main

sys.exit(main())
