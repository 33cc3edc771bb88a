"""What is judged: networks of other people, as weights files or as black boxes; none of them is trusted."""
