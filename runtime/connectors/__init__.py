"""Requests to services and events from them: what connectors need of the world.

connector    `Connector` as users declare it
"""
