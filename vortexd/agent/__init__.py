"""The agent: configuration as files and environments of programs that know nothing of vortexd.

A document arrives from the client, and passes these stages:

    settings.py  settings_file.py    agent.toml
    pacing.py    when: not before it is quiet, not after max_wait, spread by splay (pure)
    rendering.py filters.py          template and document to bytes (no I/O but the template's own files)
    apart.py                         the same in a process of its own, within bounds of memory and time (blocks)
    trusted.py                       files that nobody else could have written (blocks)
    files.py     a file replaced whole, with its owner and mode, and the lock beside it (blocks)
    commands.py  post.py  signals.py what checks and what reloads, each within a deadline (Trio)
    record.py    what a file is known to hold, through crashes (blocks)
    item.py      these as one: a document applied, or refused and the file as before (Trio)
    loop.py      every item at its time, and what the server is told of it (Trio)
    environment.py  child.py         a document as the environment of a command, and that command (pure; Trio)

The invariant: what a program has read is either a checked file that it took, or the one before; and the server hears which.
"""
