"""Reports of bots: their model, and one module per table."""
