"""Helpers for Trio: work in threads, work in bounded processes, and fair turns at the event loop.

This package imports only core.
"""
