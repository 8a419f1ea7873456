"""The threshold protocols as pure step functions."""
