"""Looking a coordinator's configuration over before it starts."""
