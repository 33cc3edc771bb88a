"""Suspects that only answer: asked in batches, within a budget, over a network."""
