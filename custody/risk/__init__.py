"""Risk scoring in the open: features, shares, statements, and the observer that makes them."""
