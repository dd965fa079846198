"""vortexd.toml as frozen classes, and the files that settings name.

TOML text arrives. `Settings` leave, or all problems at once. This package imports nothing but core.
"""
