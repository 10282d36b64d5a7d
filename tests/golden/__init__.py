"""Stores that were put away by released versions, and what must become of them."""
