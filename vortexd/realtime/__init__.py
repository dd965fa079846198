"""WebSocket connections, subscriptions, and the parking lot for quiet connections.

The pipeline passes in deliveries, and clients send messages. Frames go out to the clients. This package never imports
vortexd.http.
"""
