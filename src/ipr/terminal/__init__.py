"""What is printed, and how it is spelled."""
