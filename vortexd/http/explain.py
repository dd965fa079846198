"""`/api/v1/explain/{application}/{profiles}[/{label}]`: explains where each value of a configuration comes from.

For each flat key, the response lists the layers that hold it, and names the layer that wins. Each value has its file and
line.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import attrs
import orjson
import trio

from ..aio import threads
from ..core.broken_files import broken_headers
from ..core.errors import FormatError, ResolveError
from ..core.model import BrokenFile, Key
from ..resolve.explain import Explanation, Holding, Layer, Outcome, Profile, Source, is_below
from .broken import members, unreadable
from .endpoint import JSON, Endpoint, Request, Response
from .key_queries import WITHOUT_FILES, Labelled, accepted, condition_headers, key_of, validated, without_files
from .operation import CONDITIONS, IF_NONE_MATCH, in_query, ok, operation, with_and_without_label
from .query import parse_query
from .schemas import (
    BROKEN,
    COUNT,
    KEY,
    SCALAR,
    TEXT,
    TIME,
    VERSION,
    Operations,
    Schema,
    a_list,
    an_object,
    nullable,
    optional,
    ref,
)
from .spring.environment import V1


class Explainer(Labelled, Protocol):
    """The part of the pipeline that `Explain` needs."""

    def broken_for(self, key: Key) -> Sequence[BrokenFile]:
        """The broken files that a key reads."""
        ...

    async def explain(self, key: Key) -> tuple[Explanation, str]:
        """Explain where the configuration of a key comes from. Returns the explanation and the version."""
        ...


_PLACE = an_object(document=TEXT, line=nullable(COUNT), column=nullable(COUNT))
_ORIGIN = an_object(commit=TEXT, author=TEXT, time=TIME)
_HOLDING = optional(
    an_object(
        layer=COUNT,
        line=nullable(COUNT),
        column=nullable(COUNT),
        value=SCALAR,
        outcome={"enum": ["wins", "overridden", "list_replaced", "shadowed", "unreadable"]},
        by=nullable(COUNT),
        cipher={"enum": [None, "decrypted", "failed", "kept"]},
    ),
    "value",
)
_SCHEMAS: dict[str, Schema] = {
    "Explanation": an_object(
        **KEY,
        version=VERSION,
        broken=a_list(an_object(**BROKEN)),
        sources=a_list(
            an_object(
                root=TEXT,
                revision=nullable(TEXT),
                origin=nullable(_ORIGIN),
                profiles=a_list(an_object(name=TEXT, because=nullable(TEXT), place=nullable(_PLACE))),
            )
        ),
        layers=a_list(
            an_object(
                name=TEXT,
                source=nullable(COUNT),
                file=nullable(TEXT),
                document=nullable(COUNT),
                profile=nullable(TEXT),
                on_profile=nullable(TEXT),
                active={"type": "boolean"},
                last_good={"type": "boolean"},
            )
        ),
        keys=a_list(
            optional(an_object(key=TEXT, layer=nullable(COUNT), value=SCALAR, held_by=a_list(_HOLDING)), "value")
        ),
    ),
}


def _operation(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return operation(
        name,
        "For each key, the layers that hold it, the layer that wins, and the file and line of each value.",
        ok("the explanation", {V1: ref("Explanation")}, "X-Vortex-Version", WITHOUT_FILES, *CONDITIONS, has_tag=True),
        [*parameters, in_query("key", "explain only this flat key and the keys below it"), IF_NONE_MATCH],
        (406, 500, 503),
    )


_OPERATIONS: Operations = with_and_without_label("/api/v1/explain/{application}/{profiles}", "explain", _operation)


class Explain(Endpoint):
    """Explains a configuration, for tokens that may read the key. `?key=` selects one flat key and the keys below it."""

    route: ClassVar = "/api/v1/explain/{application}/{profiles}"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ("/api/v1/explain/",)
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, line: Explainer) -> None:
        self._line = line
        # The processor limits this work, so more threads wouldn't make it faster.
        self._threads = trio.CapacityLimiter(2)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        key = key_of(request, self._line)
        form = accepted(request, (JSON,))
        wanted = parse_query(request.query, ("key",)).get("key", "")
        try:
            explanation, version = await self._line.explain(key)
        except (FormatError, ResolveError) as error:
            raise unreadable(self._line.broken_for(key)) from error
        broken = self._line.broken_for(key)
        body = await threads.run_sync(
            _encoded, explanation, version, wanted, broken, abandon_on_cancel=True, limiter=self._threads
        )
        headers = {"X-Vortex-Version": version, **without_files(key, self._line.names_in)}
        headers |= broken_headers(broken) | condition_headers(key, self._line)
        return validated(request, body, form, headers)


def _encoded(explanation: Explanation, version: str, wanted: str, broken: Sequence[BrokenFile]) -> bytes:
    key = explanation.key
    return orjson.dumps(
        {
            "app": key.application,
            "profile": key.profile,
            "label": key.label,
            "version": version,
            "broken": [members(each) for each in broken],
            "sources": [_source(each) for each in explanation.sources],
            "layers": [_layer(each) for each in explanation.layers],
            "keys": [
                _key(name, holdings)
                for name, holdings in explanation.keys.items()
                if not wanted or is_below(name, wanted)
            ],
        }
    )


def _source(source: Source) -> dict[str, Any]:
    return {
        "root": source.root,
        "revision": source.revision,
        "origin": attrs.asdict(source.origin) if source.origin else None,
        "profiles": [_profile(each) for each in source.profiles],
    }


def _profile(profile: Profile) -> dict[str, Any]:
    place = profile.place
    return {"name": profile.name, "because": profile.because, "place": attrs.asdict(place) if place else None}


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "source": layer.source,
        "file": layer.file,
        "document": layer.document,
        "profile": layer.profile,
        "on_profile": layer.on_profile,
        "active": layer.is_active,
        "last_good": layer.is_last_good,
    }


def _key(name: str, holdings: Sequence[Holding]) -> dict[str, Any]:
    winner = next((each for each in holdings if each.outcome is Outcome.WINS), None)
    found: dict[str, Any] = {"key": name, "layer": None if winner is None else winner.layer}
    if winner is not None:
        found["value"] = winner.value
    return found | {"held_by": [_holding(each) for each in holdings]}


def _holding(holding: Holding) -> dict[str, Any]:
    found: dict[str, Any] = {"layer": holding.layer, "line": holding.line, "column": holding.column}
    if holding.outcome is not Outcome.UNREADABLE:
        found["value"] = holding.value
    return found | {
        "outcome": holding.outcome.value,
        "by": holding.by,
        "cipher": None if holding.cipher is None else holding.cipher.value,
    }
