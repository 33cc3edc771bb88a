"""What can be embedded: one file a scheme, found by its name (`config/registry.py`)."""
