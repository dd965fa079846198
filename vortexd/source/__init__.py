"""Sources: each kind reads configuration from outside the process and makes whole immutable states of it, `Tree`s.

A kind has a package of its own, with its settings, the checks of its settings, and its source. `kinds` is the only list
of kinds. `base` defines what a source must provide and which abilities it may have. This package never imports the
pipeline.
"""
