"""The HTTP door: the same service as the gRPC door, for backends of any language."""
