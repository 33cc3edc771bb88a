"""What a verdict says to somebody who has not read the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

CONDITIONS = {
    "passport": "what the claimant brings is a whole passport",
    "fidelity": "the network works as well as ever when the claimed secret is put in",
    "signature": "the claimed bits are in the network, more of them than a guess would find",
    "trigger set": "the network gives secret images the labels that the claimant says, more often than a guess",
    "steady answers": "slightly changed secret images are answered alike",
    "drawn secrets": "nobody chose the secrets to fit: the judge drew them again from their seed",
    "bound signature": "the signature follows from passport and owner, and fits no other",
    "key": "the secrets hang on a key that only the owner has",
    "commitment": "a sealed fingerprint of the claim was dated by somebody else before the network was public",
    "accessory": "what the scales pass through was fixed in time, too",
    "network": "the suspect is the network that was committed to, or a copy of it",
    "independent networks": "networks that never saw the secrets do not satisfy the claim",
    "null": "how often a wrong claim passes was measured on networks that never saw the secrets",
    "control": "how well forgeries do on these very weights",
}
"""Condition -> what it asks, without a term of the field."""

TERMS = {
    "passport": "secret inputs of some layers; the network is made to work with them, and to fail with others",
    "signature": "secret bits, read from the signs of some of the network's weights",
    "trigger set": "secret images with labels that no other network would give them",
    "commitment": "a fingerprint of the claim that shows nothing of it; once dated, it proves that the claim is as old",
    "white box, black box": "judged on the weights themselves, or on answers to images alone",
    "10^-24": "a chance: 1 in 1 followed by 24 zeros",
    "digest, fingerprint, SHA-256": "a number that is another one as soon as anything in the file is another",
    "calibration": "the judge's own measurement of how often a claim like this is verified wrongly",
}
"""Term -> its meaning."""


def meaning_of(condition: str) -> str:
    """What a condition asks; "" where it is not known."""
    if condition.startswith("witness "):
        return "another fingerprint of the same owner's, measured on the suspect"
    return CONDITIONS.get(condition, "")


def headline(facts: Mapping[str, Any]) -> str:
    """The outcome in one plain sentence."""
    owner = facts["claim"]["owner"]
    claim = f"The claim of {owner}" if owner else "The claim"
    by = " by the paper's rule alone, which whoever holds the weights can satisfy"
    return {
        "verified": f"{claim} to this network is verified{by if facts['rule']['name'] == 'paper' else ''}.",
        "not verified": f"{claim} to this network is not verified.",
        "inconclusive": f"{claim} to this network is neither verified nor refuted: something was not shown.",
    }[facts["decision"]]


def because(facts: Mapping[str, Any]) -> str:
    """Why, in one or two more."""
    required = [one for one in facts["conditions"] if one["required"]]
    names = _listed(facts["deciding"])
    count, some = len(required), len(facts["deciding"])
    if facts["decision"] == "verified":
        return f"All {count} conditions that are required hold."
    if facts["decision"] == "not verified":
        return f"Of {count} required conditions {some} {'fails' if some == 1 else 'fail'}: {names}."
    missing = "was not shown" if some == 1 else "were not shown"
    told = f"Of {count} required conditions none fails, and {some} {missing}: {names}."
    return f"{told} What was measured does not contradict the claim, and a forger could show as much."


def day_of(text: str | None) -> str:
    """A date or time of ISO 8601 to be read: `27 November 2026, 13:20 UTC`; what is none as it is, "" for None."""
    if text is None:
        return ""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    day = f"{when.day} {when:%B %Y}"
    if "T" not in text:
        return day
    zone = when.tzname() or ""
    return f"{day}, {when:%H:%M} {zone}".strip()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
