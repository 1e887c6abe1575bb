"""The bus as the settings describe it: its setup, and its number of shards."""
