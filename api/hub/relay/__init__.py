"""Bus to rooms: the connection to the bus, and the way of its messages to the clients."""
