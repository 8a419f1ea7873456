"""What may be signed. Pure: no I/O, clock or randomness; nodes and coordinator run the same code."""
