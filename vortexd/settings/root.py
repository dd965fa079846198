"""The whole of vortexd.toml as frozen attrs classes, section by section.

The defaults are in these classes and nowhere else.

Each part of the daemon receives its own section, never the whole. Each field has a `Rule` and a `Text`. `file` checks
the rule of each setting that comes from outside. `sample` makes conf/vortexd.toml of the texts. The constructors check
nothing, so that a test can reach a rare path with a limit that no operator may set. Durations are seconds (float);
sizes are bytes or counts (int).
"""

from collections.abc import Mapping

import attrs

from ..core.constraints import described, setting, text_of
from .audit import AuditSettings
from .auth import AuthSettings
from .cluster import ClusterSettings
from .console import ConsoleSettings
from .encryption import EncryptionSettings
from .fleet import FleetSettings
from .formats import FormatSettings
from .gate import GateSettings
from .history import HistorySettings
from .http import HttpSettings
from .log import LogSettings
from .monitor import MonitorSettings
from .realtime import RealtimeSettings
from .rollout import RolloutSettings
from .server import ServerSettings
from .source import SourceSettings
from .tls import TlsSettings
from .tracing import TracingSettings


@attrs.frozen
class Settings:
    """The whole of vortexd.toml.

    Attributes:
        overrides: Flat keys to text values.
    """

    server: ServerSettings = attrs.field(
        factory=ServerSettings, metadata=described(doc="The listeners, and the limits for peers before they are known.")
    )
    tls: TlsSettings = attrs.field(
        factory=TlsSettings,
        metadata=described(
            doc="TLS for all TCP addresses. Without a certificate, vortexd speaks plain HTTP.",
            more="With a certificate, HTTP clients choose HTTP/2 or HTTP/1.1 by ALPN. WebSockets use HTTP/1.1; "
            "event streams use either.",
        ),
    )
    auth: AuthSettings = attrs.field(
        factory=AuthSettings,
        metadata=described(
            doc="Authentication. Without `tokens`, `jwt_secret` and `jwks`, no client needs a token. vortexd then "
            "starts only on loopback addresses and Unix sockets, unless `open` is true."
        ),
    )
    source: tuple[SourceSettings, ...] = setting(
        (),
        doc="A place that configuration comes from: a directory or a git repository. There may be several "
        "sources. The first one takes precedence.",
    )
    gate: tuple[GateSettings, ...] = setting(
        (),
        doc="The rules that a new configuration must keep before vortexd publishes it. If a key breaks a rule, vortexd "
        "holds back its label, and keeps serving the former state. There may be several gates; a key must pass all that "
        "name its application.",
    )
    rollout: tuple[RolloutSettings, ...] = setting(
        (),
        doc="Changes that reach the named instances of an application in steps. Each step waits until they have "
        "acknowledged the new version. If one rejects it, all get the old version back. There may be several roll-outs.",
    )
    formats: FormatSettings = attrs.field(
        factory=FormatSettings,
        metadata=described(
            doc="The bounds within which vortexd parses a file. A file that exceeds one of them is broken, and "
            "vortexd serves its last good content."
        ),
    )
    history: HistorySettings = attrs.field(
        factory=HistorySettings,
        metadata=described(
            doc="The former versions of each configuration that vortexd keeps, for clients that reconnect."
        ),
    )
    realtime: RealtimeSettings = attrs.field(
        factory=RealtimeSettings, metadata=described(doc="WebSockets and event streams.")
    )
    fleet: FleetSettings = attrs.field(
        factory=FleetSettings,
        metadata=described(
            doc="The connected applications, and what they report about the versions that they receive."
        ),
    )
    cluster: ClusterSettings = attrs.field(
        factory=ClusterSettings,
        metadata=described(
            doc="Several nodes of vortexd as one cluster, by means of an etcd. A webhook or a new commit at one node makes "
            "the others fetch, too. Without `name` there is no cluster."
        ),
    )
    monitor: MonitorSettings = attrs.field(factory=MonitorSettings, metadata=described(doc="Webhooks, at `/monitor`."))
    console: ConsoleSettings = attrs.field(
        factory=ConsoleSettings, metadata=described(doc="The page for people, at `/console`.")
    )
    encryption: EncryptionSettings = attrs.field(
        factory=EncryptionSettings,
        metadata=described(
            doc="The encryption key for values that begin with `{cipher}`, as Spring writes them. vortexd reads "
            "keys from files; this file never contains one."
        ),
    )
    audit: AuditSettings = attrs.field(
        factory=AuditSettings,
        metadata=described(doc="The audit log: who has changed something at this server, when, from where, and what."),
    )
    http: HttpSettings = attrs.field(factory=HttpSettings, metadata=described(doc="Spring's HTTP API."))
    overrides: Mapping[str, str] = attrs.field(
        factory=dict,
        metadata=described(
            doc="Values that take precedence over all sources, for every application, over HTTP and WebSockets. The "
            "names of properties are flat, or stand in tables; each value is text. As in Spring, `\\${x}` is "
            "served as `${x}`, and the client program resolves it."
        ),
    )
    tracing: TracingSettings = attrs.field(
        factory=TracingSettings,
        metadata=described(
            doc="OpenTelemetry traces. Each publication is one span: it begins when the source notices the change "
            "and ends with the broadcast. Tracing needs the extra `otel`."
        ),
    )
    log: LogSettings = attrs.field(
        factory=LogSettings, metadata=described(doc="The log. vortexd writes one event a line to stderr.")
    )


# The class of each section, by name.
SECTIONS: Mapping[str, type] = {
    field.name: kind for field in attrs.fields(Settings) if attrs.has(kind := type(getattr(Settings(), field.name)))
}
# The class of each section that may occur several times, beside [[source]], by name.
TABLES: Mapping[str, type] = {"gate": GateSettings, "rollout": RolloutSettings}
# Settings that only a restart applies, as section.name: another process shares them, or connected clients rely on them.
RESTART = frozenset(
    f"{title}.{field.name}"
    for title, kind in SECTIONS.items()
    for field in attrs.fields(kind)
    if text_of(field).restart
)


def reloaded(before: Settings, read: Settings) -> tuple[Settings, list[str]]:
    """Return the settings in force after a reload, and the keys whose new values wait for a restart.

    Args:
        before: The settings in force.
        read: The new settings from the file.
    """
    waiting = []
    for key in sorted(RESTART):
        title, name = key.split(".")
        section, old = getattr(read, title), getattr(getattr(before, title), name)
        if getattr(section, name) != old:
            waiting.append(key)
            read = attrs.evolve(read, **{title: attrs.evolve(section, **{name: old})})
    return read, waiting
