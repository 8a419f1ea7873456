"""Bitcoin: coins of a wallet's addresses, over the RPC of a Bitcoin Core node without a wallet."""
