"""Parts of the routes of observability: exact numbers, snapshots, history, live prices."""
