"""The parts of the hub and their connections; `create_hub` calls them in order."""
