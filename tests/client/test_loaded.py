"""The exact modules and distributions that a program loads with the client, because the client is also installed without the server."""

from .loading import SHOWN, bind, import_alone, use

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
# A path in `config[...]`, `config.bind` and `config.bound` add these.
WHEN_BOUND = [
    "vortexd.client.binding",
    "vortexd.client.bound",
    "vortexd.client.fields",
    "vortexd.client.origins",
    "vortexd.client.paths",
    "vortexd.client.problem",
    "vortexd.client.relaxed",
]
# A class of attrs or dataclasses adds this, and a value that doesn't fit the next. The last is for programs that import it.
WITH_CATTRS = ["vortexd.client.structuring"]
WITH_PROBLEMS = ["vortexd.client.explaining"]
BY_NAME = ["vortexd.client.pydantic_settings"]
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


async def test_binding_a_dataclass_loads_these_modules_and_cattrs_and_no_others() -> None:
    loaded = await bind("vortexd.client")

    assert [1, [1, 1], "size: is missing"] == loaded.shown
    assert sorted([*AT_FIRST, *WHEN_BOUND, *WITH_CATTRS]) == loaded.modules
    assert sorted([*DISTRIBUTIONS_AT_FIRST, "cattrs", "typing_extensions"]) == loaded.distributions


async def test_a_program_that_binds_nothing_loads_no_library_of_models() -> None:
    loaded = await use("vortexd.client")

    late = {*WHEN_BOUND, *WITH_CATTRS, *WITH_PROBLEMS, *BY_NAME}
    assert set() == late & set(loaded.modules)
    assert set() == {"cattrs", "pydantic", "pydantic-settings"} & set(loaded.distributions)
