"""The fold's state as it stands on a disk, one hash over all of it: read lazily, written by what changed."""
