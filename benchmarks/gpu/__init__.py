"""The check of a GPU: what must be right there, and how fast it is. `benchmarks/gpu_check.py` runs it."""
