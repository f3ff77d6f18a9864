"""`GET /v1/openapi.json`: what our own pages take and tell, as OpenAPI 3.1.

writing      how an operation is written down
values       what several pages tell of: a call, a limit, an upstream
pages        the pages of the gateway
analysis     those of the analysis, from the lists that they themselves go by
document     all of it, and the route

The endpoints that are proxied are their providers' own: their documents hold for them.
"""
