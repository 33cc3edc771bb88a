"""`ipr verify`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ipr.cli import loading
from ipr.runs.config import ModelConfig, VerifyConfig


def execute(config: VerifyConfig) -> int:
    """Judges a claim on a suspect; 0 if it is verified, 1 if not."""
    with loading():
        from ipr.data.images import LabelledImages
        from ipr.errors import InputError
        from ipr.reports.terminal import verdict_table
        from ipr.runs.build import load_suspect, open_images
        from ipr.runs.train import judge_with_progress
        from ipr.verification.claims import load_claim

    claim = load_claim(Path(config.claim))
    try:
        model = ModelConfig(**claim.architecture["model"])
    except (KeyError, TypeError) as error:
        raise InputError(
            "claim", config.claim, f"names no known architecture ({error})", "restore the claim"
        ) from error
    data = open_images(config.dataset, config.paths)
    suspect = load_suspect(model, data, Path(config.suspect))
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    verdict = judge_with_progress(suspect, claim, images, config.forged, config.seed)
    console = Console()
    console.print(verdict_table(verdict))
    console.print("verified" if verdict.verified else "not verified")
    return 0 if verdict.verified else 1
