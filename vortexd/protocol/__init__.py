"""The messages, frames and close reasons of the WebSocket protocol. The server and the client share them. Pure.

Other packages pass in configurations and changes. JSON messages, frames and close reasons come out. This package never
imports a package that does input or output.
"""
