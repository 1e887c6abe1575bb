"""Settings of observability: fields and checks."""
