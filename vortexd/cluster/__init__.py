"""Several vortexd as one, on a store that they share.

A node writes small records to the store and watches the records of the others. The store is an `Engine`: ordered
writes with comparisons, a watch that misses nothing, and leases. No other part of vortexd needs an engine. Without a
section [cluster] and without a source of kind "etcd", nothing of this package is imported.

    engine.py       the contract with the store; pure
    connection.py   one HTTP/1.1 connection
    etcd/           the engine that speaks to etcd's JSON gateway
    keys.py         the names of all entries of a cluster; pure
    records.py      the records that nodes write for each other; pure
    node.py         ties the parts to one engine: reads, watches, and tries again
    renewal.py      whether a reload needs a new engine, because a file has changed
    quota.py        the most bytes that a node reads of its cluster
    store_state.py  whether the store can be used, for /status, metrics and the log
    roster.py       the nodes as the store lists them
    membership.py   this node's record, its sign of life, and the leadership
    hints.py        a webhook or a new commit at one node makes the others look at once
    late_labels.py  labels that stay behind, for the log
    summaries.py    how many instances of each key are in each state at one node; pure
    summary_writer.py  writes this node's summary
    fleet.py        the counts and instances of the other nodes
    questions.py    requests between nodes, with a MAC
    published/      what the leader serves, as chunks and a head, for nodes without its sources
    warnings.py     records that can't be read, each logged once
"""
