"""Metrics in three tiers (1 s, 1 min, 1 h): one module per section, their roll-up and history."""
