"""The leaderboard: entries that strangers send, checked, and the pages that are made of them."""
