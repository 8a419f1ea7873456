"""What touches the world for a node: disk, network, worker processes."""
