"""How much to keep hot: forecasts of flows, bands by dynamic programming, and the breaker for a run.

Everything here is a function of its arguments: no clock, no chance, no file. It is the one place of the
project that computes with floats, because it only advises: what leaves it is an integer of base units made
by :func:`custody.rebalancer.flows.base_units`, and the policy that judges the move never sees a float.
"""
