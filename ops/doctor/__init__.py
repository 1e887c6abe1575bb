"""`manage.py doctor`: reads the facts about a system at once, judges them, and names remedies."""
