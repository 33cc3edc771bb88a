"""The paper as studies: a sweep, the paper's numbers, how to draw them, and what must hold for its claim to stand."""
