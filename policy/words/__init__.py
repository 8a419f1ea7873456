"""A policy, and the numbers of one, in words for people. Pure."""
