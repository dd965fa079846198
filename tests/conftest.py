"""Fixtures and settings for all tests."""

import os
import signal

import structlog
from hypothesis import HealthCheck, settings

# These machines are shared: how long an example takes says nothing about the code.
# Each run tries the same examples, so that a run says something about the change. .ci/extended looks for new ones.
settings.register_profile(
    "vortexd",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("VORTEXD_RANDOM"),
)
settings.load_profile("vortexd")

# A shell that runs the tests in the background lets them ignore SIGINT, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Events that no test looks at are printed, and where Rich is installed that is with all values on the way, however large.
for each in structlog.get_config()["processors"]:
    if isinstance(each, structlog.dev.ConsoleRenderer):
        each.exception_formatter = structlog.dev.plain_traceback
