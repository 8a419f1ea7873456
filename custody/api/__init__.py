"""The wire interface for backends and operators."""
