"""Figures of positions, executions and the market: pure functions without I/O and clock.

Money is `Decimal` and is computed with 28 digits, the precision of Python's default context.
`sections.rounded` rounds money, and only for output. Ratios, basis points and milliseconds are
floats. None is an absent figure.
"""
