"""The Merkle log: tree, checkpoints, cosignatures, tiles (C2SP formats). Pure."""
