"""Build, estimate, broadcast and watch, one module a chain."""
