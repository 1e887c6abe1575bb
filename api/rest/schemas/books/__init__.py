"""Queries and answers about order books and scenarios."""
