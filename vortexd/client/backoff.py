"""How long to wait before the next attempt: takes the number of failures, returns seconds. Pure; the caller passes the random number."""

FIRST_CEILING = 0.25
LAST_CEILING = 4.0
# The longest delay, in seconds, that a server may ask for. A longer one would amount to never.
LONGEST_ASKED = 300.0


def delay_before(attempt: int, chance: float, reconnect_after_ms: int | None = None) -> float:
    """Return the seconds to wait before an attempt: 0 for the first, then full jitter under a doubling, capped ceiling.

    Args:
        attempt: The number of failures since the last connection that worked.
        chance: A random number from 0 to 1, drawn anew for each call.
        reconnect_after_ms: The delay that the server asked for when it closed. The wait is never shorter, up to `LONGEST_ASKED`.
    """
    asked = min((reconnect_after_ms or 0) / 1_000, LONGEST_ASKED)
    if attempt == 0:
        return asked
    # The exponent is bounded, so that the float doesn't overflow if the server is down for days.
    return max(asked, chance * min(LAST_CEILING, FIRST_CEILING * 2.0 ** min(attempt - 1, 16)))
