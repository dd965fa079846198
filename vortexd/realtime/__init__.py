"""The WebSocket side: connections, subscriptions and the parking lot of quiet connections.

Deliveries arrive from the pipeline and messages from clients; frames leave. Never imports the HTTP side.
"""
