"""The market overview: newest price and candle figures of all instruments in one answer."""
