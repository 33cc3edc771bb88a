"""Models of people whom one cannot trust: their files are read as data, checked, and never run."""
