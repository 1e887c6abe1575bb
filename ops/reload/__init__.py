"""`up --reload`: restarts the processes whose files have changed."""
