"""Checks of `manage.py doctor`: each reads nothing, and judges facts."""
