"""Unsigned bytes -> what they do, or a reason why not. What is not decoded is not signed."""
