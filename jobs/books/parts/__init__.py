"""Parts of the state machine of a book: pure functions and values without I/O and clock."""
