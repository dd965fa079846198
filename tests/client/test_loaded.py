"""The exact modules and distributions that a program loads with the client, because the client is also installed without the server."""

from .loading import SHOWN, import_alone, use

# A program without Trio gets these with `import vortexd.client`.
AT_FIRST = [
    "vortexd",
    "vortexd.client",
    "vortexd.client.address",
    "vortexd.client.change",
    "vortexd.client.client_state",
    "vortexd.client.last_known_good",
    "vortexd.client.replica",
    "vortexd.client.view",
    "vortexd.core",
    # `Change.patch` computes a diff if the server sent none for this step. The diff needs attrs and orjson only.
    "vortexd.core.alignment",
    "vortexd.core.diff",
    "vortexd.core.effort",
    "vortexd.core.errors",
    "vortexd.core.generation",
    "vortexd.core.model",
    "vortexd.core.names",
    "vortexd.core.subsequence",
    "vortexd.core.text",
    "vortexd.core.version",
]
# `watch` adds these, on Trio, on asyncio and in threads.
IN_USE = [
    "vortexd.client.asyncio",
    "vortexd.client.background",
    "vortexd.client.backoff",
    "vortexd.client.blocking",
    "vortexd.client.cache_writer",
    "vortexd.client.change_notifier",
    "vortexd.client.disconnect",
    "vortexd.client.following",
    "vortexd.client.link",
    "vortexd.client.protocol",
    "vortexd.client.server_rotation",
    "vortexd.client.streams",
    "vortexd.client.watching",
    "vortexd.core.patterns",
    "vortexd.protocol",
    "vortexd.protocol.close",
    "vortexd.protocol.limits",
]
DISTRIBUTIONS_AT_FIRST = ["attrs", "jsonpatch", "jsonpointer", "orjson"]
# Trio brings idna, outcome, sniffio and sortedcontainers; trio-websocket brings wsproto, and that h11.
DISTRIBUTIONS_IN_USE = ["h11", "idna", "outcome", "sniffio", "sortedcontainers", "trio", "trio-websocket", "wsproto"]


async def test_importing_the_client_loads_these_modules_and_distributions_and_no_others() -> None:
    loaded = await import_alone("vortexd.client")

    assert AT_FIRST == loaded.modules
    assert DISTRIBUTIONS_AT_FIRST == loaded.distributions


async def test_watching_on_trio_asyncio_and_threads_loads_these_modules_and_distributions_and_no_others() -> None:
    loaded = await use("vortexd.client")

    assert 3 * SHOWN == loaded.shown
    assert sorted(AT_FIRST + IN_USE) == loaded.modules
    assert sorted(DISTRIBUTIONS_AT_FIRST + DISTRIBUTIONS_IN_USE) == loaded.distributions
