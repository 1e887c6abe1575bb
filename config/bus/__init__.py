"""Settings of the bus: defaults that depend on other settings, and contradictions."""
