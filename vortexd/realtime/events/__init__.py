"""Server-Sent Events: the second transport, for the same clients, chains, groups and parking lot as WebSockets.

    endpoint ──Opened──▶ HTTP connection ──stream──▶ server.WebSocketServer ──▶ the same line as a WebSocket

    opening.py   checks a request for a stream, and starts the stream on its connection
    target.py    the parsed request
    form.py      the bytes of a message as an event, shared by all clients
    cursor.py    the id of an event for a client with several keys, signed
    input.py     the reader of an awake stream: its client sends nothing
    ending.py    the last event, and the end of the body

Nothing here is imported before the first client asks for a stream.
"""
