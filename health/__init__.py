"""Checks of the parts, reports of the processes, and the judgement that all readers share."""
