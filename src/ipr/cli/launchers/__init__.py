"""Where the jobs of a sweep run: in processes of this machine, or in a queue."""
