"""Key risk indicators: what is read, what it is held against, and one score. Nothing is decided by them."""
