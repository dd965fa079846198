"""Records of keys that all workers of a server share, and all nodes of a cluster: the pins, and the roll-outs.

Changes arrive from a keeper, and all records leave for it. Each kind of record has a file of its own and, in a cluster,
records of its own in the store.

    kind.py     what tells one kind of record apart from another; pure
    layers.py   the files of a key as JSON; pure
    file.py     the file of all records of one kind in the state directory
    shelf.py    the file, with deadlines for the disk
    acts.py     acts of people, which the task of a keeper does one after the other
    shared.py   the records of a cluster, and the file as a copy of them

Never imports: pins, rollouts, pipeline, http.
"""
