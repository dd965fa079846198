"""Several vortexd as one, on a store that they share.

A node writes small records to the store and watches the records of the others. The store is an `Engine`: ordered
writes with comparisons, a watch that misses nothing, and leases. No other part of vortexd needs an engine. Without a
section [cluster] and without a source of kind "etcd", nothing of this package is imported.

    engine.py   the contract with the store; pure
    etcd/       the engine that speaks to etcd's JSON gateway
"""
