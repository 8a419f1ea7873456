"""Solana: payments under durable nonces, over the RPC of one node."""
