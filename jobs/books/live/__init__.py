"""Live books: the queue behind the feed, rows of history, gaps."""
