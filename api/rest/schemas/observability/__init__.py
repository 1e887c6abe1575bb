"""Queries and answers of the routes of observability."""
