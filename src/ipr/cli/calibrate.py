"""`ipr calibrate`."""

from __future__ import annotations

from pathlib import Path

from ipr.cli import loading
from ipr.config.schema import CalibrateConfig
from ipr.terminal.console import Console


def execute(config: CalibrateConfig) -> int:
    """Calibrates a claim, tells it, writes it down and seals it with the judge's key."""
    with loading():
        from ipr.judging.signing import judge_key, keyid
        from ipr.reports.calibration import calibration_markdown, write_calibration
        from ipr.workflows.calibrate import calibrate

    place = Path(config.paths.judge)
    calibration = calibrate(config, ready=lambda: judge_key(place))  # not for a request that is refused
    key = judge_key(place)
    path = write_calibration(calibration, Path(config.out) if config.out else None, Path(config.paths.runs), key)
    console = Console()
    console.tell(calibration_markdown(calibration))
    console.say(f"written: {path}")
    console.say(f"sealed with the judge's key {keyid(key.public_key())}")
    return 0
