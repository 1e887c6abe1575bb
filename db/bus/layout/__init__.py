"""The layout of the bus: its keys per shard, its number of shards, and its restore."""
