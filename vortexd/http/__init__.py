"""The HTTP side: from complete requests to answers.

Requests arrive from net; each route has an endpoint that answers. Hypercorn and Quart serve requests behind the listener's first look.
"""
