"""Scopes, instrument patterns and the form of keys: facts for settings, commands and servers."""
