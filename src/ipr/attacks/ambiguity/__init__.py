"""Ambiguity attacks: they leave the suspect as it is and forge a claim to it (Definition 1.IV).

`grind` also forges one to a copy that answers as the suspect does.
"""
