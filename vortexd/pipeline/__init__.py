"""The stages between a source and its subscribers.

A `Tree` arrives from a source. It is parsed, repaired with the last good content of broken files, resolved per key, stored and compared.
Deliveries leave, one per changed key, for the subscribers that registered. Never imports a transport.

    publisher.py    from a `Tree` to a publication: parsing.py, last_good.py, then `stage` and `commit` of the store, then broadcast.py
    served.py       what is served at one moment, as one frozen value; state.py resolves keys from it
    store.py        the served state, and the configurations of the keys that are kept
    key_usage.py    the owner of "in use": it alone adds keys to the store and makes them known to registry.py
    reader.py       answers single questions about what is served; former_commits.py those about the commits before
    pipeline.py     what WebSocket connections ask
"""
