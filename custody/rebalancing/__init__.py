"""The rebalancer at work: a backend of the roster whose moves are ordinary signed requests. No authority."""
