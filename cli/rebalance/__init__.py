"""The commands of the rebalancer: its models on files, and the process that moves funds by them."""
