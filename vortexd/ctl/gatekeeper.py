"""Judges the keys of a tree by the server's gate, for `vortexctl check`."""

from collections.abc import Mapping, Sequence

import trio

from ..core.errors import FormatError, ResolveError
from ..core.model import Config, Key
from ..gate.finding import Finding as GateFinding
from ..gate.gate import PublicationGate, Rules, Verdict
from ..pipeline.state import State
from .findings import Finding


class Gatekeeper:
    """Judges whole trees by the rules of all sections [[gate]]."""

    def __init__(self, rules: Sequence[Rules]) -> None:
        self._rules = tuple(rules)

    def findings(self, state: State, keys: Sequence[Key]) -> list[Finding]:
        """Return what the gate finds: about the keys, and about the schemas in the tree. Keys that can't be resolved are left out."""
        verdicts = trio.run(self._judged, state, keys)
        return [
            finding
            for label, each in verdicts.items()
            for finding in (*map(_finding, each.findings), *_rest(label, each))
        ]

    async def _judged(self, state: State, keys: Sequence[Key]) -> Mapping[str, Verdict]:
        gate = PublicationGate(self._rules)
        try:
            configs = [found for key in keys if gate.judges(key) and (found := _resolved(state, key)) is not None]
            verdicts = await gate.judge(configs, state.labels, state.labels)
            # If a schema can't be used, only that matters.
            unusable = {label: await gate.unusable(None, files, label) for label, files in state.labels.items()}
            return {**verdicts, **{label: each for label, each in unusable.items() if not each.accepts}}
        finally:
            await gate.replace(())


def _resolved(state: State, key: Key) -> Config | None:
    try:
        return state.resolve(key)
    except (FormatError, ResolveError):
        # The check reports this already.
        return None


def _finding(found: GateFinding) -> Finding:
    return Finding(found.file or "", found.line or 0, 0, f"refused by the gate: {found.reason} (for {found.key})")


def _rest(label: str, verdict: Verdict) -> list[Finding]:
    """Return a finding for a gate that couldn't judge, and one for findings that aren't listed."""
    found = []
    if verdict.failure is not None:
        found.append(Finding("", 0, 0, f"the gate {verdict.failure} (for {label})"))
    if (more := verdict.count - len(verdict.findings)) > 0:
        found.append(Finding("", 0, 0, f"refused by the gate: {more} more findings (for {label})"))
    return found
