"""The agent: writes configuration into files and environments, for programs that know nothing of vortexd.

The client delivers a document, which passes these stages:

    settings.py  settings_file.py    agent.toml
    pacing.py    when to act: after a quiet period, at the latest after max_wait, spread by splay (pure)
    rendering.py filters.py          a template and a document to bytes (reads only template files)
    apart.py                         rendering in a separate process, with limits on memory and time (blocks)
    trusted.py                       reads files that no other user can have written (blocks)
    files.py     replaces a file as a whole, with owner and mode; locks it against other agents (blocks)
    commands.py  post.py  signals.py commands that check and reload, each with a deadline (Trio)
    record.py    what is known of a file, kept through crashes (blocks)
    item.py      all of these for one file: applies a document, or rejects it and restores the file (Trio)
    loop.py      applies every item when it is due, and reports to the server (Trio)
    environment.py  child.py         a document as the environment of a command, and that command (pure; Trio)

Invariant: a program reads either a checked file that it accepted, or the file before it. The server learns which.
"""
