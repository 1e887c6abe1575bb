-- Duties of the jobs processes: each win of a duty takes a number, and the bus refuses lower ones.

CREATE SEQUENCE duty_fences;
