"""Keeping: the books of this process, and the publication of their outputs."""
