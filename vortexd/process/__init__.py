"""The process and its surroundings: systemd, signals, several workers on one port, and the installation.

Never imports what the workers serve.
"""
