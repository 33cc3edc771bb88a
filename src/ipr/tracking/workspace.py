"""The W&B workspace "Schemes x attacks": what `ipr dashboard` builds, saves or writes."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipr.config.schema import DashboardConfig
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.tracking.charts import save_charts, schemes_by_attacks
from ipr.tracking.wandb_run import absence, has_login, load_wandb

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import BarPlot, LinePlot, PanelTypes, ScatterPlot
    from wandb_workspaces.workspaces import Section, Workspace

NAME = "Schemes x attacks"


@dataclass(frozen=True)
class Dashboard:
    """Where the workspace went.

    Attributes:
        url: where it is on W&B; None if it was not saved there.
        written: the file that holds it; None if it was saved on W&B and no file was asked for.
        why: why it was not saved on W&B; None if it was.
        no_charts: why W&B does not keep our charts (`tracking/charts.py`); None where it does, or nothing was saved.
    """

    url: str | None
    written: Path | None
    why: str | None
    no_charts: str | None = None


def build_dashboard(config: DashboardConfig) -> Dashboard:
    """Saves the workspace on W&B where there is a login, and writes it to a file where there is none or `out` is given.

    Raises:
        InputError: a package is not installed, W&B does not take it, or the file cannot be written.
    """
    try:
        wandb = load_wandb()
        import wandb_workspaces  # noqa: F401 (whether it is there)
    except ImportError as error:
        remedy = "pip install wandb wandb-workspaces"
        raise InputError("dashboard", NAME, f"cannot be built ({error})", remedy) from error
    known = has_login(wandb)
    url, no_charts = _save(wandb, config) if known else (None, None)
    written = None
    if config.out is not None or url is None:
        written = Path(config.out) if config.out else Path(config.paths.runs) / "dashboard.json"
        model = workspace(config.entity or "", config.project, config.tag)._to_model()
        try:
            written.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(written, model.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
        except OSError as error:
            raise InputError("out", written, f"cannot be written ({error.strerror})", "choose another file") from error
    return Dashboard(url, written, None if known else "there is no login", no_charts)


def _save(wandb: Any, config: DashboardConfig) -> tuple[str, str | None]:
    place = f"{config.entity or 'your default entity'}/{config.project}"
    if why := absence(wandb):
        raise InputError("dashboard", place, f"cannot be saved, because {why}", "try again when W&B answers")
    try:
        with redirect_stderr(io.StringIO()):
            entity = config.entity or wandb.Api().default_entity
            if entity is None:
                raise ValueError("the login has no default entity")
            saved = workspace(entity, config.project, config.tag)
            saved.save()  # type: ignore[no-untyped-call]
            return str(saved.url), save_charts(wandb.Api(), entity)
    except Exception as error:  # whatever W&B raises is its refusal
        problem = f"was not saved, as W&B refuses ({' '.join(str(error).split()) or type(error).__name__})"
        remedy = "check entity, project and login (`wandb login --relogin`)"
        raise InputError("dashboard", place, problem, remedy) from error


def workspace(entity: str, project: str, tag: str | None = None) -> Workspace:
    """The workspace: runs grouped by scheme, job type and attack; a section that sets schemes against attacks, and
    others for schemes, attacks, points and curves.

    Args:
        entity: who owns the project; may be empty in a workspace that is not saved.
        project: the project of the runs.
        tag: show only runs that carry it; None for all.
    """
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections(entity),
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Tags().isin([tag])) if tag is not None else "",
            groupby=[expr.Config("scheme.name"), expr.Metric("JobType"), expr.Config("attack.name")],
            pinned_columns=[
                f"summary:{name}"
                for name in (
                    "scheme", "attack", "point", "accuracy_without", "accuracy_genuine", "accuracy_forged_max",
                    "accuracy_after", "bits_agreeing", "bits_total", "consistent", "mark_read",
                    "attack_succeeded",
                )
            ],
        ),
    )  # fmt: skip


def sections(entity: str) -> list[Section]:
    """The panels. Their metrics are fields of `Record` and `AttackRow`, and the columns of metrics.csv."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports.v2.interface import WeavePanelSummaryTable

    schemes: list[PanelTypes] = [
        _bars("Accuracy with the genuine passport", "accuracy_genuine", by="scheme"),
        _bars("Accuracy without a passport", "accuracy_without", by="scheme"),
        _bars("Accuracy with forged passports, mean", "accuracy_forged_mean", by="scheme"),
        _bars("Accuracy with forged passports, best", "accuracy_forged_max", by="scheme"),
        _bars("Share of the signature's bits that is read", "bits_share", by="scheme"),
        _bars("Bits of the signature in all", "bits_total", by="scheme"),
        _bars("Trigger images answered as assigned", "trigger_accuracy", by="scheme"),
        _bars("Share of runs consistent with their claim", "consistent", by="scheme"),
    ]
    attacks: list[PanelTypes] = [
        _bars("Share of runs where it succeeded, by attack", "attack_succeeded", by="attack"),
        _bars("Share of runs where it succeeded, by scheme", "attack_succeeded", by="scheme"),
        _bars("Accuracy after the attack, or with the forged claim", "accuracy_after", by="attack"),
        _scatter("Accuracy and share of bits read at the nearest point", "bits_share", "accuracy_after"),
        _scatter("Accuracy and trigger images at the nearest point", "trigger_accuracy", "accuracy_after"),
        _scatter("Cost, as a share of the victim's training", "share_of_training", "accuracy_after"),
    ]
    points: list[PanelTypes] = [
        _line("Accuracy by pruning rate", "point/rate", "accuracy_after"),
        _line("Share of bits read by pruning rate", "point/rate", "bits_share"),
        _line("Trigger images by pruning rate", "point/rate", "trigger_accuracy"),
        _line("Accuracy by share of bits changed", "point/dissimilarity", "accuracy_after"),
        _line("Accuracy of every point", "point_index", "accuracy_after"),
        _line("Success of every point", "point_index", "attack_succeeded"),
        WeavePanelSummaryTable(table_name="points"),
    ]
    curves: list[PanelTypes] = [
        _line("Loss", "epoch", "train/loss", inner=True),
        _line("Accuracy", "epoch", "train/accuracy", inner=True),
        _line("Validation accuracy, no passport", "epoch", "validation/accuracy"),
        _line("Validation accuracy, with the passport", "epoch", "validation/accuracy_passport"),
        _line("Share of bits read, validation", "epoch", "validation/bits"),
        _line("Share of trigger images answered, validation", "epoch", "validation/triggers"),
    ]
    return [
        _first(entity),
        ws.Section(name="Schemes", panels=schemes, is_open=True),
        ws.Section(name="Attacks", panels=attacks, is_open=True),
        ws.Section(name="Points", panels=points),
        ws.Section(name="Curves", panels=curves),
    ]


def _first(entity: str) -> Section:
    from wandb_workspaces import workspaces as ws

    large = ws.SectionLayoutSettings(columns=2, rows=2)
    return ws.Section(name=NAME, panels=[*schemes_by_attacks(entity)], is_open=True, layout_settings=large)


def _bars(title: str, metric: str, *, by: str) -> BarPlot:
    from wandb_workspaces.reports.v2.interface import BarPlot, Config

    return BarPlot(
        title=title,
        metrics=[metric],
        groupby=Config(f"{by}.name"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_bars_to_show=100,
    )


def _scatter(title: str, x: str, y: str) -> ScatterPlot:
    from wandb_workspaces.reports.v2.interface import ScatterPlot, SummaryMetric

    return ScatterPlot(title=title, x=SummaryMetric(x), y=SummaryMetric(y))


def _line(title: str, x: str, y: str, *, inner: bool = False) -> LinePlot:
    from wandb_workspaces.reports.v2.interface import LinePlot

    # the trainings inside an attack stand under their own names: dissimilarity-0.1/train/loss
    return LinePlot(title=title, x=x, y=[y], metric_regex=f"(.+/)?{y}" if inner else None, smoothing_type="none")
