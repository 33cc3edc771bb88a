"""What the paper shows rather than judges: pictures of what is inside a run; one file and one YAML each."""

from __future__ import annotations

from ipr.exhibits.base import Exhibit
from ipr.exhibits.convergence import Convergence
from ipr.exhibits.distributions import Distributions
from ipr.exhibits.passport_kinds import PassportKinds
from ipr.exhibits.scale_signs import ScaleSigns
from ipr.exhibits.timing import Timing
from ipr.exhibits.trigger_images import TriggerImages
from ipr.exhibits.watermark_distributions import WatermarkDistributions

EXHIBITS: dict[str, type[Exhibit]] = {
    "convergence": Convergence,
    "distributions": Distributions,
    "passport_kinds": PassportKinds,
    "scale_signs": ScaleSigns,
    "timing": Timing,
    "trigger_images": TriggerImages,
    "watermark_distributions": WatermarkDistributions,
}
"""Every exhibit by the name of its YAML file in `conf/exhibit/`."""
