"""Plain WebSockets: the layer of all routes, and a folder for each route."""
