"""Attacks on protected networks: one YAML each, a file for those of a kind; `ipr.judging` judges what comes of them."""
