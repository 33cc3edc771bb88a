"""Removal attacks: they change the suspect and leave the owner's claim as it is."""
