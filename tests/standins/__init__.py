"""Local servers that behave like the real services, misbehaviour included."""
