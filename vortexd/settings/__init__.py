"""vortexd.toml as frozen classes, and the files that settings name.

TOML text arrives; `Settings`, or every problem at once, leaves. Imports nothing but core.
"""
