"""Published states: the leader writes what its sources serve into the store, and sources of kind "published" read it.

A state is a `Tree`. Its bytes are cut into chunks. The name of a chunk is its SHA-256, so a chunk never changes. The
leader writes each chunk alone, and then one head that names all of them. So no reader can see a half of a state. The
bytes are those of the sources. Encrypted values stay encrypted.

    packing.py     cuts contents into chunks, and puts them together; pure
    manifest.py    a tree as one document that names the contents by their hashes; pure
    head.py        the names of the entries, and the records that name chunks; pure
    version.py     a whole version as chunks and a head; pure
    publisher.py   the leader's transactions
    newest.py      the number of the newest version, as each node of the cluster shows it
"""
