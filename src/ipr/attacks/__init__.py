"""Attacks on protected networks: one YAML each, and one file for those of a kind; `ipr.judging` judges what they bring about."""
