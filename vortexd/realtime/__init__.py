"""WebSocket connections, event streams, subscriptions, and the parking lot for quiet connections.

The pipeline passes in deliveries, and clients send messages. Frames go out to the clients. This package never imports
vortexd.http.

    server.py      begins, parks, wakes and ends connections
    connection.py  an awake connection: reader.py, writer.py and heartbeat.py are its tasks
    parking.py     the lot of parked connections: fanout.py, pings.py and receiving.py are its tasks, above sockets.py;
                   parked_sockets.py has its sockets, plain and with TLS
    groups.py      parked connections as subscribers, in rows (row.py); outgoing.py queues their deliveries
    chain.py       which frame a client can use next
    forms.py       the forms of a message on the wire: WebSocket frames, and events (events/, loaded for the first stream)
    session.py     the meaning of a client's messages
"""
