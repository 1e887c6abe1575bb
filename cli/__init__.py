"""The commands of `manage.py`, a module for each kind. Nothing of ours imports them."""
