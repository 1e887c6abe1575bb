"""The hub among the others: the counts of all hubs, and the drain of this one."""
