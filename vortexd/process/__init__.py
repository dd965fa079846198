"""The process and its environment: systemd, signals, several workers on one port, and the installation.

The supervisor (`supervisor`) starts workers through `starter`: as forks of the fork server (`fork_server`), which it adopts (`forked`),
or as programs of their own.

This package never imports the packages that workers serve with.
"""
