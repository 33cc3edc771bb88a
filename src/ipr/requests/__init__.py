"""From what is typed to a typed request: Hydra, help, and what was meant where something cannot be read."""
