"""The process and its environment: systemd, signals, several workers on one port, and the installation.

This package never imports the packages that workers serve with.
"""
