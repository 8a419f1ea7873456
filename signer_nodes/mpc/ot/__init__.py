"""Oblivious transfer: base transfers and their extension."""
