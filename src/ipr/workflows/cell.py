"""One job of a study: find or make the run of its cell, whatever kind it is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ipr.attacks.config import AttackConfig
from ipr.config.schema import TrainConfig
from ipr.data.opening import open_images
from ipr.store.cell_run import leave_run
from ipr.workflows.attack import AttackRun, attack, attack_folder, with_lengths
from ipr.workflows.attackers_images import attackers_images
from ipr.workflows.exhibit import ExhibitConfig, ExhibitRun, exhibit, exhibit_folder, part_of
from ipr.workflows.request import check, folder_of, with_limit
from ipr.workflows.train import Run, train


@dataclass
class CellConfig(ExhibitConfig):
    """A job of `ipr reproduce`: a training, an attack, or an exhibit, whichever is named last."""

    cell: str = ""
    number: int = 0
    count: int = 0
    studies: str = ""  # the folder of the scale: <paths.runs>/studies/<scale>


def run_cell(config: CellConfig) -> Run | AttackRun | ExhibitRun:
    """Finds or makes what a cell asks for, and says which run is the cell's before it is made.

    Raises:
        InputError: a setting does not fit, its images cannot be read, or it asks for something that cannot be.
    """
    check(config)
    data = open_images(config.dataset, config.paths)
    folder, own = folder_of(with_limit(part_of(TrainConfig, config)), data), None
    if config.attack is not None:
        asked = with_lengths(part_of(AttackConfig, config))
        own = attackers_images(asked, data)
        folder = attack_folder(asked, folder, data, own)
    if config.exhibit is not None:
        folder = exhibit_folder(with_limit(config), config.exhibit, folder.key, data)
    leave_run(Path(config.studies), config.cell, folder)
    if config.exhibit is not None:
        return exhibit(part_of(ExhibitConfig, config))
    if config.attack is not None:
        return attack(part_of(AttackConfig, config), data, own)
    return train(part_of(TrainConfig, config), data)
