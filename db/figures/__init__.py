"""Pure figures that jobs and api share: positions, statements, conversion of amounts."""
