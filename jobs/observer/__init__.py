"""The observer: positions, figures and snapshots from the reports of bots and from the market."""
