"""One training with Lightning: its loop, checkpoints, metrics and guards."""
