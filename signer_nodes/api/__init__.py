"""The wire interface of a node: the only part of a node the coordinator may import."""
