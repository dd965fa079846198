"""Sources: each kind reads configuration from outside the process and makes whole immutable states of it, `Tree`s.

A kind has a package of its own, with its settings, the checks of its settings, and its source. `kinds` is the only list
of kinds. `base` defines the methods of every source and the abilities that a source may have. This package never
imports the pipeline.
"""
