"""The stages between a source and its subscribers.

A `Tree` arrives from a source. It is parsed, repaired with the last good content of broken files, resolved per key, stored and compared.
Deliveries leave, one per changed key, for the subscribers that registered. Never imports a transport.
"""
