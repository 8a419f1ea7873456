"""Build, estimate, broadcast and watch: one package a family of chains."""
