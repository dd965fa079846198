"""When to come back: attempts without success in, seconds to wait out. Pure; the chance comes from the caller."""

FIRST_CEILING = 0.25
LAST_CEILING = 4.0
# What a server may ask for at most: more would be as good as never.
LONGEST_ASKED = 300.0


def delay_before(attempt: int, chance: float, reconnect_after_ms: int | None = None) -> float:
    """Seconds to wait before an attempt: at once for the first, then full jitter under a doubling, capped ceiling.

    Args:
        attempt: How many have failed since the last connection that worked.
        chance: From 0 to 1, newly drawn for each call.
        reconnect_after_ms: What the server asked for when it closed; the wait is never shorter, up to `LONGEST_ASKED`.
    """
    asked = min((reconnect_after_ms or 0) / 1_000, LONGEST_ASKED)
    if attempt == 0:
        return asked
    # The exponent is bounded, so that a server away for days doesn't overflow a float.
    return max(asked, chance * min(LAST_CEILING, FIRST_CEILING * 2.0 ** min(attempt - 1, 16)))
