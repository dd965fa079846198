import inspect

from vortexd.http.event_stream import EventStream
from vortexd.realtime.events.opening import Opened


def test_an_accepted_stream_is_what_connections_expect() -> None:
    for name in ("serve", "abandon"):
        expected, found = (inspect.signature(getattr(each, name)) for each in (EventStream, Opened))

        assert [(one.name, one.kind, one.default) for one in expected.parameters.values()] == [
            (one.name, one.kind, one.default) for one in found.parameters.values()
        ]
    assert "host" in inspect.signature(Opened).parameters
