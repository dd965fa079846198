"""Helpers for Trio: work in threads, work in bounded processes, locks, fair turns at the event loop, and the optional module in C.

This package imports only core.
"""
