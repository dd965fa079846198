"""The work of the separate process that validates documents. It holds the interpreter lock while it does so.

Requests and values are those of `aio.isolated`. The invariant: a value that leaves has names of properties and keywords,
never a value of a document, nor the validator's own text. A `$ref` is resolved within the schemas of the request and
the drafts of JSON Schema, and never over HTTP or from a file.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urldefrag, urljoin

import attrs
import orjson

from .finding import MOST_FINDINGS

# The draft that schemas are written in. A schema may name it in `$schema`.
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = "https://json-schema.org/draft/2020-12/"
# The address that relative references start at. No server has such an address (RFC 2606).
_BASE = "https://schemas.invalid/"
_URI = {"type": "string", "format": "uri-reference"}
_REFERENCES = ("$ref", "$dynamicRef")
# The values of these keywords are data, not schemas.
_DATA = frozenset(("const", "enum", "default", "examples"))
# The members of the values of these keywords are schemas. Their names are free, so they aren't keywords.
_NAMED = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
# This many sets of schemas stay compiled: one for each label, if the schemas are in the source.
_KEPT = 16

_compiled: "OrderedDict[bytes, Mapping[str, Any]]" = OrderedDict()


def work(request: Any, content: bytes) -> Iterator[Any]:
    """Compile schemas, and validate documents.

    Args:
        request: The schemas, each with its name and its text; and the checks. A check is the names of the schemas for
            one document, and the length of that document in `content`.

    Yields:
        `("schema", name, steps, reason)` for each schema that can't be used; then nothing else. Or
        `("finding", number, steps, keyword, name)` for each rule that the document of this number breaks, and
        `("count", number, count)` with the number of all of them.
    """
    resources, checks = request
    problems = [(name, *problem) for name, text in resources if (problem := _problem(text)) is not None]
    if problems:
        yield from (("schema", *problem) for problem in problems)
        return
    try:
        validators = _validators(resources)
    except _Unusable as unusable:
        yield "schema", unusable.name, unusable.steps, unusable.reason
        return
    at = 0
    for number, (names, size) in enumerate(checks):
        document = orjson.loads(memoryview(content)[at : at + size])
        at += size
        count = 0
        for name in names:
            for steps, keyword in _broken(validators[name], document):
                count += 1
                if count <= MOST_FINDINGS:
                    yield "finding", number, steps, keyword, name
        if count:
            yield "count", number, count


class _Unusable(Exception):
    """A schema can't be compiled."""

    def __init__(self, name: str, steps: list[str | int], reason: str) -> None:
        self.name = name
        self.steps = steps
        self.reason = reason
        super().__init__(reason)


def _problem(text: str) -> tuple[list[str | int], str] | None:
    """Return why a text can't be a schema, and the place, or None."""
    try:
        schema = orjson.loads(text)
    except ValueError:
        return [], "not JSON"
    if not isinstance(schema, dict):
        return [], "a schema must be an object"
    if schema.get("$schema", DRAFT) not in (DRAFT, DRAFT + "#"):
        return ["$schema"], f"only the draft {DRAFT} is supported"
    return None


def _validators(resources: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """Compile all schemas, or return them from the last time."""
    digest = hashlib.sha256(repr(resources).encode()).digest()
    found = _compiled.get(digest)
    if found is None:
        found = _compiled[digest] = _compile(resources)
        while len(_compiled) > _KEPT:
            _compiled.popitem(last=False)
    _compiled.move_to_end(digest)
    return found


def _compile(resources: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """Compile schemas.

    Raises:
        _Unusable: A schema can't be compiled, or it refers to a place that none of the schemas has.
    """
    import jsonschema_rs

    schemas = {name: orjson.loads(text) for name, text in resources}
    for name, schema in schemas.items():
        for error in jsonschema_rs.iter_errors({"$ref": DRAFT}, schema, offline=True):
            # Only `type` has alternatives: one name, or a list of names.
            is_type = error.kind.name == "anyOf"
            reason = "there is no such type" if is_type else f"its {error.kind.name} isn't that of a schema"
            raise _Unusable(name, error.instance_path, reason)
    known, references = _resources(schemas)
    for each in references:
        resource = _address(each)
        if resource not in known and not resource.startswith(_DRAFTS):
            raise _Unusable(each.name, each.steps, "it refers to a schema that isn't configured")
    registry = _registry(schemas, known)
    for each in references:
        try:
            registry.resolver(each.base).lookup(each.reference)
        except jsonschema_rs.ReferencingError:
            raise _Unusable(each.name, each.steps, "it refers to a place that doesn't exist") from None
    validators: dict[str, Any] = {}
    for name, schema in schemas.items():
        try:
            validators[name] = jsonschema_rs.Draft202012Validator(
                schema, registry=registry, base_uri=_BASE + quote(name), offline=True
            )
        except jsonschema_rs.ValidationError as error:
            raise _Unusable(name, error.instance_path, f"its {error.kind.name} can't be used") from None
    return validators


def _registry(schemas: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """Make the registry of all schemas.

    Raises:
        _Unusable: The registry finds a reference that can't be resolved, where `_resources` finds none: in data that
            another reference uses as a schema, or in a part of another draft.
    """
    import jsonschema_rs

    make = partial(jsonschema_rs.Registry, draft=jsonschema_rs.Draft202012, retriever=_retrieve_nothing)
    try:
        return make([*known.items()])
    except ValueError:
        # The error doesn't name the schema. Without the contents of the others, only this schema fails.
        for name, schema in schemas.items():
            own, _ = _resources({name: schema})
            try:
                make([*({uri: {} for uri in known} | own).items()])
            except ValueError:
                raise _Unusable(name, [], "a reference in it can't be resolved") from None
        raise


def _retrieve_nothing(uri: str) -> Any:
    """Refuse to fetch a schema. No reference needs it, so this is the second lock of the same door."""
    raise LookupError("schemas are never fetched")


@attrs.frozen(slots=True, eq=False)
class _Reference:
    """A reference in a schema: the schema's name, the steps to it, the address that it starts at, and its text."""

    name: str
    steps: list[str | int]
    base: str
    reference: str


def _resources(schemas: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Reference]]:
    """Return all schemas by their addresses, and all references in them."""
    known: dict[str, Any] = {}
    references: list[_Reference] = []
    for name, schema in schemas.items():
        left: list[tuple[Any, list[str | int], str]] = [(schema, [], _BASE + quote(name))]
        known[left[0][2]] = schema
        while left:
            node, steps, base = left.pop()
            if isinstance(node, list):
                left += ((each, [*steps, number], base) for number, each in enumerate(node))
            if not isinstance(node, dict):
                continue
            if isinstance(node.get("$id"), str):
                base = _address(_Reference(name, [*steps, "$id"], base, node["$id"]))
                known[base] = node
            found = ((keyword, node.get(keyword)) for keyword in _REFERENCES)
            references += (_Reference(name, [*steps, word], base, to) for word, to in found if isinstance(to, str))
            for key, each in node.items():
                if key in _NAMED and isinstance(each, dict):
                    left += ((schema, [*steps, key, word], base) for word, schema in each.items())
                elif key not in _DATA:
                    left.append((each, [*steps, key], base))
    return known, references


def _address(of: _Reference) -> str:
    """Return the address that a reference has without its fragment.

    Raises:
        _Unusable: It isn't a URI reference (RFC 3986).
    """
    import jsonschema_rs

    try:
        address = urldefrag(urljoin(of.base, of.reference)).url
        # The registry knows more rules than the functions above.
        is_valid = all(jsonschema_rs.is_valid(_URI, each, validate_formats=True) for each in (of.reference, address))
    except ValueError:
        is_valid = False
    if not is_valid:
        raise _Unusable(of.name, of.steps, "it isn't a URI reference")
    return address


def _broken(validator: Any, document: Any) -> Iterator[tuple[list[str | int], str]]:
    """Yield the rules that a document breaks: the steps to the place, and the keyword."""
    for error in validator.iter_errors(document):
        keyword = error.kind.name
        names = [error.kind.property] if keyword == "required" else getattr(error.kind, "unexpected", [])
        if keyword == "falseSchema" and error.schema_path[-1:] == ["additionalProperties"]:
            # Without `properties`, the validator reports the object once, and none of its names.
            keyword, names = "additionalProperties", [*_at(document, error.instance_path)]
        # A missing or a forbidden property is named by its own place.
        for name in names or [None]:
            yield error.instance_path + ([] if name is None else [name]), keyword


def _at(document: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        document = document[step]
    return document
