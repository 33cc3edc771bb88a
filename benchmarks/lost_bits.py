"""Which bits of a passport's signature fine-tuning turned, and how far from 0 they stood before.

Reads the victims and the fine-tuned checkpoints below a folder of runs; trains nothing:

    python benchmarks/lost_bits.py runs
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model
from ipr.passport.claim import PassportClaim
from ipr.workflows.attack_rows import find_rows


def signed_scales(network: nn.Module, claim: PassportClaim) -> Tensor:
    """gamma_i * b_i of every bit: above 0 where the bit is read."""
    return torch.cat([gamma[0] * claim.signature[name] for name, (gamma, _) in claim.affines(network).items()])


def main(runs: Path) -> None:
    """Prints a line for each fine-tuned passport scheme."""
    print("scheme norm seed transfer | gamma * b before: least, median | bits turned: before -> after")
    for row in find_rows(runs):
        if row.attack != "finetune" or row.point or not row.scheme.startswith("passport"):
            continue
        victim = runs / "train" / row.victim
        claim = load_claim(victim / "claim")
        assert isinstance(claim, PassportClaim)
        facts = claim.architecture
        network = build_model(
            row.model,
            norm=row.norm,
            width=row.width,
            channels_in=facts["channels_in"],
            image_size=facts["image_size"],
            num_classes=facts["num_classes"],
        )
        network.load_state_dict(load_file(victim / "public.safetensors"), strict=False)
        before = signed_scales(network, claim)
        path = runs / "attack" / row.key / "checkpoints" / "finetune" / "last.ckpt"
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        own, shapes = {k.removeprefix("network."): v for k, v in state.items()}, network.state_dict()
        same = {k: v for k, v in own.items() if k in shapes and v.shape == shapes[k].shape}  # not another classifier
        network.load_state_dict(same, strict=False)
        after = signed_scales(network, claim)
        turned = ", ".join(f"{b:.3f} -> {a:.3f}" for b, a in zip(before, after, strict=True) if a <= 0)
        which = f"{row.scheme} {row.norm} {row.seed} {row.transfer or '-'}"
        print(f"{which} | {before.min():.3f}, {before.median():.3f} | {turned or 'none'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(str(InputError("runs", sys.argv[1:], "one folder of runs is wanted", "give e.g. runs")))
    main(Path(sys.argv[1]))
