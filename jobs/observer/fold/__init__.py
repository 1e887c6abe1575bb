"""The fold: reports become rows, orders, positions, round trips and checkpoints.

One call of `batch.fold` works within one transaction. The result is independent of the order in
which the reports arrive: fills count in the order (time, seq).
"""
