"""Serves HTTP: takes connections with a complete request head, and makes responses.

    net ──Accepted──▶ bridge ──RequestHead, Body──▶ app ──▶ request_handler ──Request──▶ endpoint ──Response──▶ back the same way
                      (HTTP/1.1: adapter/hypercorn, client_stream; HTTP/2: http2)        (found by routes)

`app.Application.respond` separates connections from endpoints. The connections know no endpoint, and the endpoints know
no connection. Only adapter/ relies on internals of Quart, Hypercorn and h2. The class of an endpoint declares all that
routes, request_handler and openapi need (see `endpoint.Endpoint`).
"""
