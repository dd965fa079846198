"""Helpers on Trio: work in threads, work in processes with bounds, and fair turns at the event loop.

Imports nothing but core.
"""
