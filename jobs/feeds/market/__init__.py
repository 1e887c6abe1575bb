"""The synthetic market: a pure model of prices. No I/O and no clock; its random numbers have seeds.

`levels` has the facts about instruments, `factors` the random walks, `prices` the prices of one
instrument, `model` the whole market. docs/synthetic-market.md has the formulas.
"""
