"""EVM chains: accounts with nonces, over JSON-RPC."""
