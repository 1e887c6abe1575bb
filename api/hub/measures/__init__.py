"""The metrics of a hub: integers that its parts keep, read at the moment of an answer."""
