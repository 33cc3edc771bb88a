"""Claims of ownership: what every claim is, its folder, its origin, commitments and time stamps."""
