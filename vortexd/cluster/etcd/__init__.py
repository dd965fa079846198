"""The engine that speaks to etcd, 3.4 or newer, through its JSON gateway.

    wire.py     the gateway's JSON: requests, answers and errors; pure
    gateway.py  sends requests to the members in turn, with TLS, user and password
    engine.py   reads, commits, watches and leases

The gateway answers on the client port of every member. Its requests reach etcd as those of a user with a password. etcd
ignores the name in a client certificate there, so a certificate only opens the connection.
"""
