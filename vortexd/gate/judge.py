"""Validates documents in a separate process, within a deadline and a limit of memory.

Configurations and the names of their schemas arrive. Findings leave, or a `Failure` if the schemas couldn't judge. The
calls block, so use them in a thread. The process stays for the next publication, and starts again if it has ended.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..aio.isolated import Exceeded, Isolated, Unavailable
from ..core.model import Config
from . import validation
from .finding import Failure, Finding, pointer_of
from .lines import line_of, syntax_problem
from .places import place_of
from .schemas import Schema


@attrs.frozen(slots=True)
class SchemaProblem:
    """Why a schema can't be used. `str()` is `file:line: reason`."""

    name: str
    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@attrs.frozen(slots=True, eq=False)
class Check:
    """A configuration to validate.

    Attributes:
        config: The configuration.
        schemas: The names of the schemas that its document must satisfy.
        roots: The roots of the files that it reads.
    """

    config: Config
    schemas: tuple[str, ...]
    roots: tuple[str, ...] = ()


class Judge:
    """Owns one process that validates; see the module. Use it in one thread at a time.

    Args:
        seconds: The deadline of one call.
        memory_bytes: The limit of memory.
    """

    def __init__(self, seconds: float, memory_bytes: int) -> None:
        self._isolated = Isolated(validation.__name__, memory_bytes, max(1, math.ceil(seconds)), clock_seconds=seconds)

    def close(self) -> None:
        """End the process, if there is one. The next call starts another."""
        self._isolated.close()

    def kill(self) -> None:
        """End the process for good, from another thread. A call that waits for it fails."""
        self._isolated.kill()

    def problems(self, schemas: Mapping[str, Schema]) -> list[SchemaProblem]:
        """Return the problems of schemas. If there are none, they can be used.

        Raises:
            Failure: The process couldn't say.
        """
        problems = [
            SchemaProblem(each.name, each.file, found[1], found[0])
            for each in schemas.values()
            if (found := syntax_problem(each.file, each.text.encode())) is not None
        ]
        if problems:
            return problems
        return [
            SchemaProblem(name, schemas[name].file, line_of(schemas[name].text, steps), reason)
            for _, name, steps, reason in self._ask(schemas, [], b"")
        ]

    def findings(self, schemas: Mapping[str, Schema], checks: Sequence[Check]) -> tuple[list[Finding], int]:
        """Validate documents. Return the first findings of each document, and the number of all findings.

        Raises:
            Failure: The process couldn't say: it took too long or too much memory, or a schema can't be used.
        """
        # Many keys have the same document. It is sent and validated once.
        groups: dict[tuple[str, tuple[str, ...]], list[Check]] = {}
        for check in checks:
            groups.setdefault((check.config.version, check.schemas), []).append(check)
        firsts = [group[0] for group in groups.values()]
        bodies = [each.config.body for each in firsts]
        asked = [(each.schemas, len(body)) for each, body in zip(firsts, bodies, strict=True)]
        members = [*groups.values()]
        findings: list[Finding] = []
        count = 0
        for kind, *said in self._ask(schemas, asked, b"".join(bodies)):
            if kind == "finding":
                number, steps, keyword, name = said
                findings += (_finding(each, steps, keyword, name) for each in members[number])
            elif kind == "count":
                count += said[1] * len(members[said[0]])
            else:
                name, steps, reason = said
                line = line_of(schemas[name].text, steps)
                raise Failure(f"can't use {SchemaProblem(name, schemas[name].file, line, reason)}")
        return findings, count

    def _ask(
        self, schemas: Mapping[str, Schema], checks: Sequence[tuple[tuple[str, ...], int]], content: bytes
    ) -> Iterator[Any]:
        request = [(each.name, each.text) for each in schemas.values()], list(checks)
        try:
            yield from self._isolated.ask(request, content)
        except (Exceeded, Unavailable) as error:
            raise Failure(f"can't validate: the validation {error}") from None


def _finding(check: Check, steps: Sequence[str | int], keyword: str, name: str) -> Finding:
    file, line = place_of(steps, check.config.sources, check.roots)
    return Finding(check.config.key, pointer_of(steps), keyword, name, file, line)
