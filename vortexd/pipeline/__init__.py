"""The stages between a source and its subscribers.

A `Tree` arrives from a source. The pipeline parses it, and replaces broken files by their last good content. It
resolves each key in use that reads an altered file, stores the results and compares them with the former ones. For each
changed key one delivery leaves, for the subscribers of that key. The pipeline never imports a transport.

    publisher.py    turns a `Tree` into a publication, in order: parsing.py, last_good.py, `stage` and `commit` of the
                    store, broadcast.py
    gated.py        lets the gate judge a publication before its commit, and holds labels back; ungated.py stands in its
                    place as long as there is no gate
    holding.py      gives labels, or single applications of a label, their former files
    served.py       everything that is served at one moment, as one frozen value; state.py resolves keys from it
    store.py        the served state, and the configurations of the keys that are kept
    dependencies.py knows which keys read which files
    resolution.py   resolves the keys of one publication, and does no work twice
    key_usage.py    decides which keys are in use: it alone adds keys to the store and makes them known to registry.py
    reader.py       answers single questions about the served state; former_commits.py those about earlier commits, and
                    former_states.py finds the version of a client that resumes in states before the served one
    pacing.py       holds changes back for roll-outs; tracks.py says which clients have a candidate
    pipeline.py     the methods that WebSocket connections call
"""
