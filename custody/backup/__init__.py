"""Backups of the coordinator's database, and databases from them."""
