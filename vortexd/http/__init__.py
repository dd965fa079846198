"""Serves HTTP: takes connections with a complete request head, and makes responses.

    net ──Accepted──▶ bridge ──RequestHead, Body──▶ app ──▶ request_handler ──Request──▶ endpoint ──Response──▶ back the same way
                      (HTTP/1.1: http1, client_stream; HTTP/2: http2)                     (found by routes)

If a request over HTTP/1.1 has a body, http1 hands its connection over to adapter/hypercorn for good.
An endpoint may let a request wait before it is answered (`waiting`, `watch`, `watchers`).
`app.Application.respond` separates connections from endpoints. The connections know no endpoint, and the endpoints know
no connection. Only adapter/ relies on internals of Quart, Hypercorn, h11 and h2. The class of an endpoint declares all that
routes, request_handler and openapi need (see `endpoint.Endpoint`).
"""
