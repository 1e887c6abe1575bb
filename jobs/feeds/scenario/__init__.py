"""The simulated exchange of scenarios: recorded depth under load and faults. Pure."""
