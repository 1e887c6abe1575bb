"""Volatility and correlation: arrays in, arrays out. No I/O and no clock; numpy is the only foreign
import.

NaN means *not available*, in arguments and in results. Callers turn it into null, because it must
never be sent.
"""
