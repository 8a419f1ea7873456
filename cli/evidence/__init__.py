"""What auditors and bookkeepers are handed from a published log."""
