"""Volatility and correlation: arrays in, arrays out. Nothing here does I/O or knows the time; numpy is the only import from outside.

NaN means *not available*, in what comes in and in what goes out. Callers turn it into null: it never goes on the wire.
"""
