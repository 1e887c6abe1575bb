"""Local servers that behave like the real services, including their faults."""
