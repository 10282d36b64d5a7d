"""Planted faults and what runs them: see `registry` for the idea, `campaign` for the runner."""
