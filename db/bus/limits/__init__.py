"""Limits that several processes share: requests of REST, connections of hubs."""
