"""Where the numbers of a run go besides its own folder."""
