"""The namespace of market data."""
