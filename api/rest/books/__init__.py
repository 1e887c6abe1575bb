"""Order books and scenarios: reading the bus, uploads."""
