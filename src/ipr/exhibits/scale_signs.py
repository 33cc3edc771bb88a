"""Scale factors, their signs, and the characters that they spell (Table VIII)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipr.attacks.base import example_of
from ipr.config.registry import register
from ipr.exhibits.base import Contents, Exhibit, Fact, OpenedRun
from ipr.exhibits.distributions import chosen_layer
from ipr.passport.presented import PresentedClaim
from ipr.passport.surgery import find_layers
from ipr.signature import agreeing_bits, detect


def codes(bits: Tensor) -> list[int]:
    """The bytes that bits in {-1, +1} spell, highest bit first (Table VIII); a last, incomplete one is left out."""
    places = 2 ** torch.arange(7, -1, -1)
    return [int((byte > 0).long() @ places) for byte in bits.split(8) if byte.numel() == 8]


def character(code: int) -> str:
    """The ASCII character of a byte; "" where it has none that can be printed."""
    return chr(code) if 32 <= code < 127 else ""


@register("scale_signs")
@dataclass
class ScaleSigns(Exhibit):
    """The table of a signature, channel by channel, read with the owner's passport.

    Of channels that carry a bit. Text is written from the first of the first protected layer on; where the
    signature holds one, the channels shown are its own. Without text they are the first `channels` of the last
    protected layer, or of `layer`.

    Arrays: `gamma` and `bits` (what was to be written), (channels,).
    Facts: a row a channel with `channel` (from 0), `layer`, `gamma`, `sign`, and `bit`; a row a character with
    `character_index`, `code`, and `character` ("" where it cannot be printed); a row by `agreement` (`shown`, `all`)
    with `bits_agreeing`, `bits_total` and `bits_share`.
    """

    source = "Table VIII"

    layer: str | None = None  # a passport layer; null for the last
    channels: int = 48  # shown where there is no text

    def show(self, opened: OpenedRun) -> Contents:
        """See `Exhibit.show`."""
        claim = opened.claim
        assert isinstance(claim, PresentedClaim)  # `families` sees to it
        layers = find_layers(opened.suspect, example_of(opened.data, opened.suspect), claim.layers)
        shown = chosen_layer(layers, self.layer or claim.layers[-1]).conv
        scales = claim.signed_scales(opened.suspect, layers)
        signed = {name: bits.cpu().nonzero().squeeze(1) for name, bits in claim.signature.items()}
        gammas = {name: scales[name].detach().cpu().float()[signed[name]] for name in claim.layers}
        wanted = {name: claim.signature[name].cpu()[channels] for name, channels in signed.items()}
        if claim.text_bytes and self.layer is None:
            names, count = list(gammas), 8 * claim.text_bytes
        else:
            names, count = [shown], self.channels
        gamma = torch.cat([gammas[name] for name in names])[:count]
        bits = torch.cat([wanted[name] for name in names])[:count]
        signs = detect(gamma)

        facts: list[Fact] = []
        where = [(name, channel) for name in names for channel in signed[name].tolist()][:count]
        rows = zip(where, gamma.tolist(), signs.tolist(), bits.tolist(), strict=True)
        for (name, channel), value, sign, bit in rows:
            facts.append({"layer": name, "channel": channel, "gamma": value, "sign": sign, "bit": bit})
        for index, code in enumerate(codes(signs)):
            facts.append({"character_index": index, "code": code, "character": character(code)})
        everywhere = torch.cat(list(gammas.values())), torch.cat([wanted[name] for name in gammas])
        for which, (values, own) in {"shown": (gamma, bits), "all": everywhere}.items():
            agreeing, total = agreeing_bits(detect(values), own), own.numel()
            facts.append({"agreement": which, "bits_agreeing": agreeing, "bits_total": total})
            facts[-1]["bits_share"] = agreeing / total
        return Contents({"gamma": gamma, "bits": bits.float()}, facts)
