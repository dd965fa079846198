"""Published states: the leader writes what its sources serve into the store, and sources of kind "published" read it.

A state is a `Tree`. Its bytes are cut into chunks. The name of a chunk is its SHA-256, so a chunk never changes. The
leader writes the chunks, and then one head that names the root of the manifest, which names all others. So no reader can
see a half of a state. The bytes are those of the sources. Encrypted values stay encrypted.

    packing.py     cuts contents into chunks, and puts them together; pure
    manifest.py    a parsed manifest and its tree, and manifests of format 1; pure
    manifest_writer.py  a tree as a root and pages, which name the contents by their hashes; pure
    manifest_reader.py  the root and the pages as a parsed manifest; pure
    checks.py      checks the values of a parsed manifest; pure
    head.py        the names of the entries, and the records that name chunks; pure
    version.py     a whole version as chunks and a head; pure
    fetching.py    fetches and verifies chunks
    publisher.py   decides what the leader publishes, and when
    transactions.py  the leader's transactions
    newest.py      the number of the newest version, as each node of the cluster shows it
"""
