"""The folder of runs: what is named how, found or made once, recorded, and how each ended."""
