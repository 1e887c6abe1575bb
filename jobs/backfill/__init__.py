"""Backfill: history and recordings as pages of rows for the store."""
