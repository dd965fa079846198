"""Pins: keys that are frozen at a document for a while, whatever their sources say.

A pin, with the files that its key reads, arrives from a client, or from the file of an earlier process. All pins that are
in force leave for the publisher. An end by time leaves, too.

    pin.py          the nouns: a pin, its files, and its end; pure
    changes.py      one more pin, and one less; pure
    file.py         what the file of all pins holds, which all workers share; see the package `shelf`
    keeper.py       puts, lifts and ends pins, and tells the other workers
    late_keeper.py  loads the keeper once there is a pin

Never imports: source, pipeline, realtime, http.
"""
