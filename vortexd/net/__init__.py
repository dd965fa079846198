"""From sockets to requests: listeners, limits on connections, TLS, proxies and the request head.

The input is sockets. The output is connections with a complete request head, each for WebSockets or for HTTP. This
package imports neither of the two.
"""
