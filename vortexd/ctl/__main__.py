"""`python -m vortexd.ctl` runs vortexctl."""

import sys

from .cli import main

sys.exit(main())
