"""What can be asked for: schema, ranges, secrets that are named, and what of them names a run."""
