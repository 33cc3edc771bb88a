"""The one judging path: fidelity (F), verification (V) and the verdict."""
