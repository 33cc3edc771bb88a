"""Runs: what is asked for, the folder that keeps it, its record, and finding or training it."""
