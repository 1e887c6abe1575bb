"""Order books: levels, continuity, states, and the messages about them."""
