"""Settings of order books and scenarios: fields, markets, checks of several values."""
