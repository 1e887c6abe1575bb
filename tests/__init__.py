"""Tests of all parts. This module is imported before each of them."""

import os

# Two threads per operation on matrices of a few hundred rows cost more CPU time than they save,
# because each waits in a loop. Set before numpy is loaded; our processes inherit it.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
