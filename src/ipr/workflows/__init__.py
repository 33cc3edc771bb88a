"""From a request to its result: one file a command."""
