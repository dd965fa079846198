"""Speaks as the server to any client of vortexd, and checks it by the conversations in ../transcripts. ADAPTERS.md describes an adapter.

    transcript.py    the lines of a conversation: steps, and the answers to each
    channel.py       texts that were received and not yet compared, bounded
    adapter.py       the process of an adapter: events from it, commands to it
    server.py        the sockets: handshakes, WebSockets and event streams
    play.py          one conversation: performs the steps, and compares the answers
    __main__.py      the command line and the report

Run `python -m tests.client.conformance COMMAND...` in a clone. It needs only what vortexd itself needs: Trio, wsproto and orjson.
"""
