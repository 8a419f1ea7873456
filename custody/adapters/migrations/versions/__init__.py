"""One step each, in order: ``python -m custody.adapters.migrations.draft`` writes the next one."""
