"""What this package adds to ipr: see the entry points in pyproject.toml."""
