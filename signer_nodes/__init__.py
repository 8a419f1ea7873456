"""One signer node: holds one share of each key and trusts nobody."""
