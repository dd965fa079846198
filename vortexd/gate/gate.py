"""Judges the changed keys of a publication by all sections [[gate]].

Configurations arrive, with the files of their labels in the served state and in the new one. A verdict leaves for each
label. The invariant: a gate that can't judge refuses, and the verdict about one label never depends on another label.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from ..aio import threads
from ..core.model import Config, Key
from ..core.patterns import Pattern
from ..resolve.tree import ParsedFiles
from .finding import COMMAND, MOST_FINDINGS, SCHEMA, Failure, Finding
from .schemas import SUFFIX, Schema, SourceSchemas, applies, schema_contents, source_schemas

if TYPE_CHECKING:
    from .judge import Check, Judge

T = TypeVar("T")
_NO_FILES: Mapping[str, ParsedFiles] = {}


@attrs.frozen
class Rules:
    """One section [[gate]] with the schemas that it names.

    Attributes:
        is_by_application: Whether a refusal holds back applications, and not a whole label.
    """

    patterns: tuple[Pattern, ...]
    schemas: Mapping[str, Schema] = attrs.field(factory=dict)
    has_source_schemas: bool = False
    command: tuple[str, ...] = ()
    seconds: float = 5.0
    memory_bytes: int = 268_435_456
    is_by_application: bool = False


@attrs.frozen
class Verdict:
    """What the gate says about the keys of one label.

    Attributes:
        findings: The first findings.
        count: The number of all findings.
        failure: Why the gate couldn't judge, or None if it could.
        keys: The refused keys, if the refusal is one of their applications. It is empty if the refusal is one of the label.
    """

    findings: tuple[Finding, ...] = ()
    count: int = 0
    failure: str | None = None
    keys: frozenset[Key] = frozenset()

    @property
    def accepts(self) -> bool:
        """Whether the keys may be published."""
        return not self.count and self.failure is None

    def refuses(self, key: Key) -> bool:
        """Return whether a key of these labels may not be published."""
        return not self.accepts and (not self.keys or key in self.keys)


class PublicationGate:
    """Judges configurations; see the module. If several tasks use it, their documents are validated in turn.

    Args:
        rules: The sections [[gate]]. Without any, the gate judges nothing.
    """

    def __init__(self, rules: Sequence[Rules] = ()) -> None:
        self._judges: dict[tuple[float, int], Judge] = {}
        self._threads = trio.CapacityLimiter(1)
        self._in_turn = trio.Lock()
        self._rules = tuple(rules)

    async def replace(self, rules: Sequence[Rules]) -> None:
        """Put other rules in force for the next call."""
        self._rules = tuple(rules)
        wanted = {(each.seconds, each.memory_bytes) for each in rules}
        async with self._in_turn:
            for name in self._judges.keys() - wanted:
                self._judges.pop(name).close()

    @property
    def rules(self) -> tuple[Rules, ...]:
        """The rules in force."""
        return self._rules

    def judges(self, key: Key) -> bool:
        """Return whether a section judges a key."""
        return any(applies(each.patterns, key) for each in self._rules)

    async def judge(
        self,
        configs: Sequence[Config],
        served: Mapping[str, ParsedFiles] = _NO_FILES,
        new: Mapping[str, ParsedFiles] = _NO_FILES,
    ) -> dict[str, Verdict]:
        """Judge configurations. Return a verdict for the label, or the labels, of each key.

        Args:
            served: The files of the labels in the served state, whose schemas count. A new label has schemas of its own.
            new: The files of the labels that the configurations were resolved from.
        """
        labels: dict[str, list[Config]] = {}
        for each in configs:
            labels.setdefault(each.key.label, []).append(each)
        return {label: await self._judge(own, served, new) for label, own in labels.items()}

    async def _judge(
        self, configs: Sequence[Config], served: Mapping[str, ParsedFiles], new: Mapping[str, ParsedFiles]
    ) -> Verdict:
        # A server without a gate doesn't load these modules.
        from . import command as commands
        from .judge import Check

        findings: list[Finding] = []
        count = 0
        is_whole = False
        names = configs[0].key.labels
        roots = tuple({layer.files.root for name in names if name in new for layer in new[name].layers})
        try:
            for rules in self._rules:
                own = [each for each in configs if applies(rules.patterns, each.key)]
                if not own:
                    continue
                before = count
                if rules.schemas:
                    checks = [Check(each, tuple(rules.schemas), roots) for each in own]
                    count += await self._validate(rules, rules.schemas, checks, findings)
                if rules.has_source_schemas:
                    for name in dict.fromkeys(names):
                        files = served.get(name) or new.get(name)
                        found = source_schemas(files) if files is not None else SourceSchemas()
                        checks = [
                            Check(each, chosen, roots) for each in own if (chosen := tuple(found.for_key(each.key)))
                        ]
                        first = len(findings)
                        count += await self._validate(rules, found.found, checks, findings)
                        findings[first:] = _with_former(findings[first:], found, new.get(name), files)
                if rules.command and not await commands.accepts(rules.command, own, rules.seconds):
                    program = commands.program_of(rules.command)
                    findings += (Finding(each.key, "", COMMAND, program) for each in own)
                    count += len(own)
                is_whole = is_whole or (count > before and not rules.is_by_application)
        except Failure as failure:
            return Verdict(tuple(findings[:MOST_FINDINGS]), count, str(failure))
        keys = frozenset() if is_whole else frozenset(each.key for each in findings)
        return Verdict(tuple(findings[:MOST_FINDINGS]), count, keys=keys)

    async def _validate(
        self, rules: Rules, schemas: Mapping[str, Schema], checks: "Sequence[Check]", findings: list[Finding]
    ) -> int:
        """Add the findings of documents, and return their number."""
        if not checks:
            return 0
        found, count = await self._ask(rules, lambda judge: judge.findings(schemas, checks))
        findings += found
        return count

    async def unusable(self, before: ParsedFiles | None, after: ParsedFiles, label: str) -> Verdict:
        """Judge the schemas in the source that a publication changes: those that can't be used are findings."""
        rules = next((each for each in self._rules if each.has_source_schemas), None)
        if rules is None or (before is not None and schema_contents(before) == schema_contents(after)):
            return Verdict()
        from .judge import SchemaProblem

        found = source_schemas(after)
        problems = [SchemaProblem(path, path, None, reason) for path, reason in sorted(found.unreadable.items())]
        try:
            if found.found:
                problems += await self._ask(rules, lambda judge: judge.problems(found.found))
        except Failure as failure:
            return Verdict(failure=str(failure))
        findings = tuple(
            Finding(Key(_owner(each.file), "default", label), "", SCHEMA, each.name, each.file, each.line, each.reason)
            for each in problems
        )
        return Verdict(findings[:MOST_FINDINGS], len(findings))

    async def _ask(self, rules: Rules, work: "Callable[[Judge], T]") -> T:
        """Let the judge of a section work in a thread. If this is cancelled, its process ends."""
        from .judge import Judge

        name = rules.seconds, rules.memory_bytes
        async with self._in_turn:
            judge = self._judges.get(name)
            if judge is None:
                judge = self._judges[name] = Judge(*name)
            try:
                return await threads.run_sync(work, judge, abandon_on_cancel=True, limiter=self._threads)
            except trio.Cancelled:
                # The abandoned thread still uses the process, so the next call gets another one.
                self._judges.pop(name, None)
                judge.kill()
                raise


def _with_former(
    findings: Sequence[Finding], schemas: SourceSchemas, new: ParsedFiles | None, served: ParsedFiles | None
) -> Sequence[Finding]:
    """Mark those findings whose schema the new state has changed or deleted. The author doesn't find that schema there."""
    if not findings or new is served:
        return findings
    newer = source_schemas(new).found if new is not None else {}
    return [attrs.evolve(each, is_former=newer.get(each.rule) != schemas.found[each.rule]) for each in findings]


def _owner(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(SUFFIX)
