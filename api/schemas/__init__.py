"""Schemas that REST and the hub share."""
