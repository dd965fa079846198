"""vortexd serves application configuration and pushes every change, as it happens.

Configuration flows one way:

    source ──Tree──▶ resolve ──Config──▶ pipeline ──Delivery──▶ realtime ──frame──▶ net ──▶ socket
    (Trio)           (pure)              (state, store, diff)   (Trio)              (Trio)

Each package says in its __init__.py what arrives, what leaves and what it never imports:

    core/        the nouns: errors, keys, trees, configurations, patterns, versions, the RFC 6902 diff; pure
    aio/         work in threads and in bounded processes, locks, fair turns at the event loop, pauses of the garbage
                 collector, the optional module in C
    protocol/    what goes over the WebSocket wire: messages, frames, close reasons; pure, shared with the client
    cluster/     several vortexd as one: the store that they share, etcd's engine, membership, and hints to fetch
    settings/    vortexd.toml as frozen classes, and the files that it names
    encryption/  Spring's ciphers, read and written
    state/       what survives a restart: what instances have acknowledged, what the gate has accepted, and files of
                 vortexd's own user
    source/      files/ and git/: directories and repositories as whole immutable states
    resolve/     bytes to documents within bounds, Spring's order, one nested document; pure
    gate/        judges new configurations by JSON Schemas and commands, before they are published
    pipeline/    parse, repair, resolve, store, compare and broadcast: from a Tree to deliveries
    fleet/       which instances have applied which version; pure
    audit/       who changed something at the server, when, from where, and what: a bounded log that all workers share
    shelf/       records of keys that all workers share, and all nodes of a cluster: pins and roll-outs
    pins/        freezes keys at a document for a while, whatever their sources say
    rollouts/    lets a change of one key reach the named instances in steps, paced by their acknowledgements
    auth/        who is let in, and what they may do: one gate for HTTP, handshakes, subscriptions and deliveries
    net/         sockets, limits on connections, TLS and proxies: from bytes to complete request heads
    realtime/    WebSocket connections, event streams, subscriptions and the parking lot of quiet connections
    http/        endpoints, the router, the seam to HTTP/1.1 and HTTP/2 connections; http/spring/ is Spring's API as text; pure
    observe/     logs, metrics and traces
    process/     systemd, signals, several workers on one port, the installation
    console/     the page for people, and a client in JavaScript; static files
    composition.py  the composition root: makes all parts, wired
    daemon.py    runs the parts: the root nursery, signals and the order of shutdown
    reload.py    SIGHUP: new settings for all parts, together or not at all
    cli/         the command line of vortexd
    client/      the client for Trio, asyncio and threads
    agent/       files made of templates, and programs that are reloaded
    ctl/         vortexctl, one module per command

The import rule, kept by tests/test_imports.py: packages import each other without circles, and only as listed there. Pure modules import no
trio, socket, time, random or logging. Only composition.py knows every part.
"""

__version__ = "0.2.0"
