"""The process: its report in the registry, and the check of its container."""
