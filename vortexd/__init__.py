"""vortexd serves application configuration and pushes every change, as it happens.

Configuration flows one way, and each stage is a module or a package here:

    source ──Tree──▶ resolve ──Config──▶ store ──old,new──▶ diff ──Change──▶ broadcast ──frame──▶ connection ──▶ socket
    (Trio)           (pure)              (pure)             (pure)           (sync calls)         (Trio)

    model.py  names.py  errors.py   the nouns, what may be a name, whose mistake an error is
    source/     a directory as whole immutable states (Tree)
    resolve/    bytes to documents within bounds, Spring's order, one nested document
    store.py    the current Config of each key in use, a bounded history, the last good state of each application
    diff.py     the RFC 6902 patch between two documents
    registry.py who wants what
    broadcast.py one change to one shared frame to every subscriber; never awaits
    realtime/   the WebSocket: frames, messages, close reasons, session (pure); connection (Trio)
    http/       the listener that routes, Spring's HTTP API, health, metrics
    settings.py logs.py metrics.py  what every part is given, its own section at a time
    daemon.py   puts the line together; owns the root nursery, signals and the order of shutdown
    cli.py      the command line; the only place that prints

The import rule, kept by tests/test_imports.py: a stage imports the nouns and the stages to its left. Pure modules
import no trio, socket, time, random or logging. Only daemon.py knows every part.
"""

__version__ = "0.1.0"
