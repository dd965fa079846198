"""vortexd serves application configuration and pushes every change, as it happens.

Configuration flows one way, and each stage is a module or a package here:

    source ──Tree──▶ resolve ──Config──▶ store ──old,new──▶ diff ──Change──▶ broadcast ──frame──▶ connection ──▶ socket
    (Trio)           (pure)              (pure)             (pure)           (sync calls)         (Trio)

    model.py  names.py  patterns.py  errors.py  text.py   the nouns, what may be a name, whose mistake an error is
    remotes.py                      what may be the address of a git repository
    client_certificate.py           the names in a certificate that TLS has checked
    proxies.py                      whose word counts of who has sent a request, and what it says
    rules.py  tables.py             what a field of settings may be, and TOML as such settings or as all of its problems
    cache.py                        a bounded cache that made-up names can't fill
    faults.py                       which faults are new, so that each is logged once while it lasts
    settings.py  settings_file.py   what may be set, and vortexd.toml as those settings or as all of its problems
    logs.py                         what goes to people, without a value or a token
    metrics.py  collectors.py  tracing.py  publication.py   what goes to Prometheus and to collectors of traces
    early_signals.py  late_signals.py   signals that come before anybody awaits them, and signals that come too late to end anything
    threads.py  processes.py        long work in threads, and patience where there are none; the end of what others' commands start
    isolated.py  isolated_main.py   work in a process of its own, within bounds of memory and time
    turns.py                        what many clients ask for, a few pieces in each round of the loop
    tls.py                          the certificate in force
    trusted_files.py                files with secrets, read where nobody else could have
    systemd.py                      what goes to systemd, and the sockets that come from it
    binding.py  the sockets that listen, for one process or for several
    peers/      what several workers on one port ask each other, by way of their supervisor
    auth/       who is let in, and what for: one gate for HTTP, handshakes, subscriptions and deliveries
    encryption/ the ciphers that Spring writes, read and written alike
    source/     a directory, or a git repository by a mirror, as whole immutable states (Tree); several of them as one
    resolve/    bytes to documents within bounds, Spring's order, one nested document, and why it is what it is
    parsing.py  where a file is parsed: in the thread that asks, or in a process of its own
    effort.py  subsequence.py  alignment.py   what became of each element of a list, within a bound of effort
    diff.py  comparison.py          the RFC 6902 patch between two documents, and the same for people
    state.py    everything served at one moment: which files a key reads, and what they make; version.py: the version of a document
    last_good.py                    the last good content of broken files, put in their place between parsing and resolving
    store.py    the current Config of each key in use, and a bounded history
    matching.py which patterns match which keys: each pair once, and in steps
    registry.py who wants which key or pattern, by index
    interests.py which keys are in use: those asked for, and those that exist and match a pattern
    fleet/      which instances have applied what, bounded, and as pages that workers merge
    reading.py  what is served now, for those who ask once
    broadcast.py one change to one shared frame to every subscriber; never awaits
    line.py     the stages from Tree to broadcast as one: publications one after the other, reads and subscriptions between them
    realtime/   the WebSocket: frames, messages, close reasons, session (pure); connection, parking and server (Trio)
    console/    the page for people, and a client in JavaScript; static files
    http/       the listener that routes, the bridge to Hypercorn, HTTP/2, the application; an endpoint per kind of request, and the routes to them
    http/spring/ Spring's HTTP API as far as it is a matter of texts: paths, JSON, .properties, YAML, placeholders, plain files (pure)
    named_files.py                  who is let in, the certificate and the keys, from the files that settings name
    reload.py                       SIGHUP: new settings for everybody who goes by them, together or not at all
    daemon.py   puts the line together; owns the root nursery, signals and the order of shutdown
    supervisor.py  post.py  worker.py   several daemons on one port: the process that starts and watches them, what it hands to each, and one of them
    client/     the client: one conversation and what its end means (pure), and the same for Trio, asyncio and threads
    agent/      files made of templates, and programs that are reloaded or started anew; the stages are named in it
    cli.py  commands.py  terminal.py    the command line: what serves, what doesn't, how errors are said
    ctl/        vortexctl: a module for each command, and what they share
    installation.py                 units, man pages and settings where the system looks for them

The import rule, kept by tests/test_imports.py: a stage imports the nouns and the stages to its left. Pure modules
import no trio, socket, time, random or logging. Only daemon.py and reload.py know every part.
"""

__version__ = "0.1.0"
