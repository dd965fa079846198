"""The HTTP side: the listener that accepts and routes, the bridge to Hypercorn, and the quart-trio application."""
