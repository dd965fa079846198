"""Sources: each kind turns something outside into whole immutable states, `Tree`s.

A kind has a package of its own: its settings, with the checks of them, and its source. `kinds` is the only list of kinds, and `base` says what
a source must have and which abilities it may have. Never imports the pipeline.
"""
