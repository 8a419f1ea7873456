"""How the coordinator's tables came to be, step by step; see ``custody.adapters.schema``."""
