"""Sources: each kind turns something outside into whole immutable states, `Tree`s.

A kind has a package of its own. Never imports the pipeline.
"""
