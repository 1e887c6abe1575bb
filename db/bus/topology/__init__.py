"""The servers of the bus: settings of their connections, and the ways to find them."""
