"""What can be embedded: every scheme by the name of its YAML file; one LightningModule for each way of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What a scheme is, for documentation and for attacks to choose by.

    Attributes:
        family: `none`, `passport`, `projection` (bits in weights or activations) or `key images`.
        source: who published it, and where the paper speaks of it.
        embeds: what training adds.
        reads: what a judge reads.
    """

    family: str
    source: str
    embeds: str
    reads: str


SCHEMES: dict[str, About] = {
    "baseline": About("none", "-", "nothing", "accuracy alone"),
    "passport_v1": About(
        "passport", "Section III-D, V1; Algorithm 2", "scales and shifts from a distributed passport", "signs of scales"
    ),
    "passport_v2": About(
        "passport",
        "Section III-D, V2; Algorithm 6",
        "the same, private, beside public ones",
        "signs of scales",
    ),
    "passport_v3": About(
        "passport", "Section III-D, V3; Algorithm 6", "V2 and a trigger set", "signs of scales; trigger accuracy"
    ),
    "uchida": About(
        "projection", "Uchida et al. 2017 [1]; Eq. 2", "cross-entropy of a projected mean filter with bits", "bits"
    ),
    "deepmarks": About(
        "projection",
        "Chen et al. 2018 [3]",
        "squared distance of a projected mean filter to a fingerprint",
        "bits of a code word; correlation",
    ),
    "deepsigns": About(
        "projection", "Rouhani et al. 2018 [5]", "cross-entropy of projected mean activations with bits", "bits"
    ),
    "trigger_set": About("key images", "Adi et al. 2018 [2]", "abstract images, random labels", "trigger accuracy"),
    "zhang_content": About(
        "key images", "Zhang et al. 2018 [4]", "images with a rectangle, one other label", "trigger accuracy"
    ),
    "zhang_noise": About(
        "key images", "Zhang et al. 2018 [4]", "images with a noise pattern, one other label", "trigger accuracy"
    ),
    "zhang_unrelated": About(
        "key images", "Zhang et al. 2018 [4]", "images of another data set, random labels", "trigger accuracy"
    ),
    "frontier_stitching": About(
        "key images",
        "Le Merrer et al. 2017 [6]",
        "adversaries with their true labels",
        "trigger accuracy, against a fair coin",
    ),
    "guo_potkonjak": About(
        "key images",
        "Guo and Potkonjak 2018 [7]",
        "images with a message, the next label",
        "trigger accuracy",
    ),
}
"""Every scheme by the name of its YAML file in `conf/scheme/`."""
