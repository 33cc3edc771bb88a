"""Attacks on protected networks: one file and one YAML each; `ipr.judging` judges what they bring about."""
