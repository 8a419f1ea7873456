"""What touches the world for the coordinator: database, network, chain."""
