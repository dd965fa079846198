"""[tracing] of vortexd.toml.

OpenTelemetry traces. Each publication is one span: it begins when the source notices the change and ends with the broadcast. Tracing needs
the extra `otel`.
"""

import re

import attrs

from ..core.constraints import Rule, setting


def _is_collector(value: object) -> bool:
    return not value or re.fullmatch(r"https?://[A-Za-z0-9._\[\]:-]+(?:/[!-~]*)?", str(value)) is not None


@attrs.frozen
class TracingSettings:
    """[tracing]."""

    endpoint: str = setting(
        "",
        Rule("the http:// or https:// address of a collector, or empty", _is_collector),
        doc='The address of a collector for OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. "" means '
        "none. Headers, certificates and the name of the service come from the variables `OTEL_*`.",
        restart=True,
    )
