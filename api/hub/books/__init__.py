"""The order books of the hub, for its namespaces and for plain WebSockets."""
