"""The dashboard's page: its files, its policy and its configuration."""
