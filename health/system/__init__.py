"""The state of the whole system, as the routes of `/api/system` and the observer show it."""
