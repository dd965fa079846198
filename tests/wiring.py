"""Connects the parts of the pipeline as the daemon does, for tests that need several of them."""

from collections.abc import Callable, Sequence
from typing import Any

import trio

from vortexd.aio.collector import Collector
from vortexd.core.model import Tree
from vortexd.encryption.decryptor import Decryptor
from vortexd.gate.decision import Decision
from vortexd.gate.gate import Rules
from vortexd.gate.opening import open_gate
from vortexd.observe.metrics import Metrics
from vortexd.observe.publication import Publication
from vortexd.pipeline.broadcast import Broadcaster, Subscriber
from vortexd.pipeline.encoder import Encoder
from vortexd.pipeline.former_states import FormerSources
from vortexd.pipeline.gated import Accepted
from vortexd.pipeline.key_usage import KeyUsage
from vortexd.pipeline.order import Order
from vortexd.pipeline.past_keys import Commits
from vortexd.pipeline.pipeline import Pipeline
from vortexd.pipeline.publisher import Publisher
from vortexd.pipeline.reader import ConfigReader
from vortexd.pipeline.registry import Registry
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store
from vortexd.pipeline.tracks import Tracks
from vortexd.resolve.listing import list_keys
from vortexd.resolve.tree import ParsedTree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from .fakes import timestamp


def served_state(state: State) -> ServedState:
    """What is served with a state, of sources that gave the same labels."""
    parsed = ParsedTree(state.labels, state.default_label)
    tree = Tree({label: files.files for label, files in state.labels.items()}, state.default_label)
    return ServedState(tree, state, list_keys(parsed), FormatSettings())


class Wired:
    """All parts of the pipeline. The classes can be others, which have a fault planted."""

    def __init__(
        self,
        history: HistorySettings | None = None,
        decryptor: Decryptor | None = None,
        now: Callable[[], float] = lambda: 0.0,
        on_publication: Callable[[Publication], None] | None = None,
        metrics: Any = None,
        encoder: Encoder | None = None,
        registry: Registry[Subscriber] | None = None,
        broadcaster: Callable[..., Broadcaster] = Broadcaster,
        pipeline: Callable[..., Pipeline] = Pipeline,
        formats: FormatSettings | None = None,
        collector: Collector | None = None,
        sources: FormerSources | None = None,
        commits: Commits | None = None,
        rules: Sequence[Rules] = (),
        accepted: Accepted | None = None,
    ) -> None:
        formats = formats or FormatSettings()
        history = history or HistorySettings()
        self.metrics = metrics if metrics is not None else Metrics()
        self.order = Order()
        self.tracks = Tracks()
        self.decisions: list[Decision] = []
        self.encoder = encoder or Encoder(timestamp, generation=self.order.generation)
        self.store = Store(history)
        self.registry: Registry[Subscriber] = registry if registry is not None else Registry()
        self.key_usage = KeyUsage(self.store, self.registry, history)
        self.broadcaster = broadcaster(self.registry, self.encoder.change, trio.current_time)
        self.reader = ConfigReader(
            self.store, trio.CapacityLimiter(2), sources=sources, commits=commits, gate=open_gate(rules)
        )
        self.publisher = Publisher(
            formats,
            self.store,
            self.key_usage,
            self.registry,
            self.broadcaster,
            self.reader,
            self.metrics,
            decryptor,
            now=now,
            on_publication=on_publication,
            collector=collector,
            order=self.order,
            gate=open_gate(rules),
            accepted=accepted,
            on_decision=self.decisions.append,
            tracks=self.tracks,
        )
        parts = self.store, self.key_usage, self.registry, self.broadcaster, self.encoder, self.reader, collector
        self.pipeline = pipeline(*parts, self.order, self.tracks)
