"""An observer of chains: what came to our accounts and what became of our payments, on its own word."""
