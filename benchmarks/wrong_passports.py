"""What random passports read of a signature in the network that carries it: are their bits independent guesses?

    python benchmarks/wrong_passports.py runs/train/KEY/public.safetensors runs/train/KEY/claim

Of each passport the bits that agree are counted, layer by layer, and set beside the cosine between its mean patch and
the genuine one's: a scale is the product of a channel's weights with the mean patch (Eq. 4).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import forged_at_random
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import patch_mean
from ipr.signature import agreeing_bits, detect
from ipr.suspects.suspect import open_suspect

PASSPORTS = 200


def agreement(network: nn.Module, claim: PassportClaim, rivals: list[PassportClaim]) -> tuple[Tensor, Tensor]:
    """Of each rival passport (row) and layer (column): bits of the claim's signature that it reads, and the cosine."""
    bits, cosines = [], []
    for rival in rivals:
        affines = rival.affines(network)
        bits.append([agreeing_bits(detect(affines[name][0][0]), claim.signature[name]) for name in claim.layers])
        cosines.append([_cosine(network, name, claim, rival) for name in claim.layers])
    return torch.tensor(bits, dtype=torch.float64), torch.tensor(cosines, dtype=torch.float64)


def _cosine(network: nn.Module, name: str, one: PassportClaim, other: PassportClaim) -> float:
    conv = network.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    means = [patch_mean(claim.passport[name][:1], conv).flatten() for claim in (one, other)]
    return float(torch.nn.functional.cosine_similarity(means[0], means[1], dim=0))


def main(weights: Path, folder: Path, passports: int = PASSPORTS) -> None:
    """Prints how many bits random passports read, what guesses would, and the correlation with the cosines."""
    claim = load_claim(folder)
    if not isinstance(claim, PassportClaim) or not claim.passport:
        raise InputError("claim", folder, "brings no passport", "give the claim of a passport scheme")
    network, facts = open_suspect(weights, claim.architecture).network, claim.architecture
    example = torch.zeros(1, facts["channels_in"], facts["image_size"], facts["image_size"])
    with torch.no_grad():
        bits, cosines = agreement(network, claim, forged_at_random(network, claim, example, passports, seed=0))
    sizes = torch.tensor([claim.signature[name].numel() for name in claim.layers], dtype=torch.float64)
    total = sizes.sum()
    read = bits.sum(1)
    print(
        f"{passports} random passports read {read.mean():.1f} of {total:.0f} bits, "
        f"standard deviation {read.std():.1f}, {read.min():.0f} to {read.max():.0f}; "
        f"guesses: {total / 2:.1f}, {total.sqrt() / 2:.1f}"
    )
    together = torch.corrcoef(torch.stack([(bits / sizes).flatten(), cosines.flatten()]))[0, 1]
    print(f"correlation of a layer's share of agreeing bits with the cosine of the mean patches: {together:.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        remedy = "give e.g. runs/train/KEY/public.safetensors runs/train/KEY/claim"
        raise SystemExit(str(InputError("arguments", sys.argv[1:], "weights and a claim are wanted", remedy)))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
