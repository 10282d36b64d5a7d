"""Deterministic simulation: the real engine on a seeded event loop whose time is its own."""
