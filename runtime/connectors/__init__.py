"""Requests to services and events from them: what connectors need of the world.

    connector      `Connector` as users declare it; works without an engine too
    connections    who makes the requests of an engine: one line for each connector
    http           what actions make requests with: host, credentials, redirects, errors
    wire           one exchange over a connection to an address that was judged
    authority      credentials as headers; tokens of OAuth2
    limiter        how often a service is asked
    ingestion      from signed bytes to an event
    section        `engine.connectors` and `engine.secrets`
    shipped        the connectors that come with greenroom, a module each

Read `connections`, then `wire` and `http`.
"""
