"""`manage.py bus`."""
