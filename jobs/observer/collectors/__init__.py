"""Collectors: each makes one section of the snapshot."""
