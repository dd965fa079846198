"""From sockets to requests: listeners, limits on connections, TLS, proxies and the request head.

Sockets arrive; connections with a complete request head leave, each for the WebSocket or the HTTP side. Never imports either.
"""
