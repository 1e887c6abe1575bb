"""`manage.py scenario`: the commands, and their figures on the terminal."""
