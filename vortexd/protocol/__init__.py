"""What goes over the WebSocket wire, shared by the server and the client. Pure.

Configurations and changes arrive; JSON messages, frames and close reasons leave. Never imports a package that does input or output.
"""
