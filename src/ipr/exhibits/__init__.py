"""What the paper shows rather than judges: pictures of what is inside a run; one file and one YAML each."""
