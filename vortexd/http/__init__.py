"""The HTTP side: from connections with a complete request head to responses.

    net ──Accepted──▶ bridge ──RequestHead, Body──▶ app ──▶ request_handler ──Request──▶ endpoint ──Response──▶ back the same way
                      (HTTP/1.1: adapter/hypercorn, client_stream; HTTP/2: http2)        (found by routes)

The seam is `app.Application.respond`: connections know no endpoint, and endpoints know no connection. adapter/ alone relies on internals of Quart,
Hypercorn and h2. An endpoint declares in its class all that routes, request_handler and openapi need (see `endpoint.Endpoint`).
"""
