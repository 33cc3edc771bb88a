"""A run on Weights & Biases beside the run's own folder. Whatever becomes of W&B, the run goes on.

Nothing else in `ipr` knows W&B but `workspace.py`. docs/wandb.md says what is logged under which name.
"""

from __future__ import annotations

import http.client
import io
import netrc
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from operator import methodcaller
from pathlib import Path
from typing import Any

from ipr.machine.gpus import variables
from ipr.terminal.console import Console
from ipr.world import SERVICE

ANSWER_SECONDS = 5.0  # a server that has not answered by then is taken for away
START_SECONDS = 15.0  # to start a run on a server that answers
FINISH_SECONDS = 10.0  # to send the rest when a run ends; `wandb sync` sends what is left
LONGEST_TAG = 64  # W&B refuses longer ones
LONGEST_ARTIFACT = 128  # likewise
NAMING = (
    "run_id", "run_name", "run_notes", "run_group", "run_job_type", "run_tags", "resume", "resume_from", "fork_from",
    "sweep_id",
)  # fmt: skip
"""Settings that WANDB_RUN_ID, WANDB_NAME, WANDB_RESUME and others make for all runs of a process, which are several."""

LOST = "logging failed ({}) and stops here; the run itself goes on and is recorded in its folder"


class Tracker:
    """What a run tells W&B; tells nobody where W&B is not asked for, absent, or has failed.

    No method raises what W&B raises: the first failure is said on stderr and ends the telling, not the run. Truth
    values are told as 0 and 1, which W&B can plot and average.

    Args:
        run: a W&B run, or None.
        sync: what uploads it later, to be told to the user.
    """

    def __init__(self, run: Any = None, sync: str = "") -> None:
        self.run, self.sync = run, sync
        self._axes: set[str] = set()
        self._points = 0

    def epoch(self, values: Mapping[str, float], training: str = "") -> None:
        """Adds an epoch to the curves, which W&B draws over `epoch`.

        Args:
            values: `epoch` and its means under their names in metrics.csv (`train/loss`).
            training: tells one of several trainings from the others (`dissimilarity-0.1/train/loss`).
        """
        start = f"{training}/" if training else ""
        step = {"epoch": values["epoch"]}
        named = {start + name: value for name, value in values.items() if name != "epoch"}
        means = {name: value for name, value in named.items() if name.startswith(f"{start}train/")}
        others = {name: value for name, value in named.items() if name not in means}
        self._draw_over("epoch", [f"{start}{curve}" for curve in ("train/*", "validation/*", "learning_rate")])
        for curves in filter(None, (means, others)):  # what is no mean of the training has a row of its own
            self._attempt(methodcaller("log", step | curves))

    def point(self, values: Mapping[str, Any]) -> None:
        """Adds a judged point of an attack, which W&B draws over `point_index`.

        Args:
            values: a row's fields; the settings that its `point` names are told as numbers too (`point/rate`).
        """
        settings = [setting.partition("=")[::2] for setting in str(values["point"]).split()]
        numbers = {f"point/{name}": number for name, text in settings if (number := _number(text)) is not None}
        shown = _plain(values) | bits_share(values) | numbers
        self._draw_over("point_index", [name for name, value in shown.items() if isinstance(value, int | float)])
        self._points += 1
        self._attempt(methodcaller("log", {"point_index": self._points - 1} | shown))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets the summary: what tables, bars and filters of W&B show."""
        self._attempt(lambda run: run.summary.update(_plain(values) | bits_share(values)))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows, all with the same fields, as a table."""

        def add(run: Any) -> None:
            import wandb

            columns: list[str | int] = list(rows[0])
            data: list[Iterable[Any]] = [[plain[str(column)] for column in columns] for plain in map(_plain, rows)]
            with _staged(run):
                run.log({name: wandb.Table(columns=columns, data=data, allow_mixed_types=True)})

        if rows:
            self._attempt(add)

    def model(self, name: str, weights: Path, card: str, facts: Mapping[str, Any]) -> None:
        """Adds an artifact of type `model`: public weights and what may be read of them, nothing else.

        The weights are not copied: an offline run names their file, which `wandb sync` reads. What keeps W&B from
        taking an artifact is said, and the run is told of all else.

        Args:
            name: of the artifact; the same name makes another version of it.
            weights: the file, `public.safetensors`; not changed afterwards.
            card: becomes README.md.
            facts: shown beside it; no secret.
        """

        def add(run: Any) -> None:
            import wandb

            if not run.offline and (why := absence(wandb)) is not None:  # wandb itself would wait for half a minute
                raise ConnectionError(why)
            with _staged(run):
                artifact = wandb.Artifact(name[-LONGEST_ARTIFACT:], "model", metadata=dict(facts))
                artifact.add_file(str(weights.resolve()), weights.name, skip_cache=True, policy="immutable")
                with artifact.new_file("README.md", encoding="utf-8") as file:
                    file.write(card)
                run.log_artifact(artifact)

        if self.run is not None:
            try:
                add(self.run)
            except Exception as error:  # noqa: BLE001 (whatever W&B raises must not end the run on W&B)
                say(f"no model artifact of {name} ({told(error)}); the weights are in its folder")

    def finish(self, exit_code: int) -> None:
        """Ends the run; what a server does not take in time stays in the folder."""
        if self.run is None:
            return
        run, self.run = self.run, None
        try:
            with redirect_stderr(io.StringIO()):
                run.finish(exit_code=exit_code)
        except TimeoutError:
            say(f"not all of this run was taken within {FINISH_SECONDS:g} seconds; to upload it later: {self.sync}")
        except Exception as error:  # noqa: BLE001 (whatever W&B raises must not undo a run)
            self._lost(error)

    def _draw_over(self, axis: str, metrics: Sequence[str]) -> None:
        for metric in metrics:
            if metric not in self._axes:
                self._axes.add(metric)
                self._attempt(methodcaller("define_metric", metric, step_metric=axis))

    def _attempt(self, act: Callable[[Any], object]) -> None:
        if self.run is None:
            return
        try:
            act(self.run)
        except Exception as error:  # noqa: BLE001 (whatever W&B raises must not stop a training)
            self.run = None
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        say(LOST.format(told(error)))
        with suppress(Exception, SystemExit), redirect_stderr(io.StringIO()):  # else the next run has the dead service
            load_wandb().teardown(exit_code=1)


def load_wandb() -> Any:
    """The package `wandb`, which takes half a second to import. It sends no crash reports.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # without a network they hold a process up for 20 seconds
    import wandb

    return wandb


def has_login(wandb: Any) -> bool:
    """Whether there is a key, right or wrong, where wandb looks for one; nothing is sent and nobody is asked.

    (`wandb.login` asks the server, for 10 seconds where it is silent.)
    """
    settings = wandb.setup().settings
    if settings.api_key or settings.identity_token_file:
        return True
    named = os.environ.get("NETRC")
    host = urllib.parse.urlsplit(str(settings.base_url)).hostname or ""
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        with suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(path).authenticators(host) is not None:
                return True
    return False


def absence(wandb: Any) -> str | None:
    """Why nothing can be sent to W&B: no login, or a server that does not answer within `ANSWER_SECONDS`; else None."""
    if not has_login(wandb):
        return "there is no login (`wandb login` makes one)"
    url = str(wandb.setup().settings.base_url).rstrip("/")
    if not url.startswith(("http://", "https://")):
        return f"{url} is not an address"
    request = urllib.request.Request(  # noqa: S310 (http or https, as just seen)
        f"{url}/graphql", b'{"query": "{__typename}"}', {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:  # it answers; below 500 it is for wandb to judge
        return f"{url} answers with error {error.code}" if error.code >= 500 else None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # it answers; wandb may know its certificate
            return None
        return f"{url} cannot be reached ({told(reason)})"


def open_run(mode: str, folder: Path, asked: Mapping[str, Any]) -> Tracker:
    """Starts a W&B run; one that tells nobody where W&B cannot be had, and offline where its server cannot.

    Args:
        mode: `online` or `offline`.
        folder: the run folder.
        asked: what `wandb.init` is asked for besides.
    """
    try:
        wandb = load_wandb()
    except ImportError as error:
        say(f"this run is not logged, as wandb cannot be imported ({told(error)}); `pip install wandb` brings it")
        return Tracker()
    _forget_ended_service(wandb)
    asked = {**asked, "dir": folder.resolve()}  # its service keeps the first run's own
    settings = wandb.Settings(
        console="off",
        reinit="create_new",  # a run that the caller has open stays his
        save_code=False,
        disable_git=True,
        silent=True,
        x_disable_meta=True,
        init_timeout=START_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
    why = None
    try:
        if mode == "online" and (why := absence(wandb)) is None:
            try:
                run = _start(wandb, asked, settings, "online")
                say(str(run.url))
                return Tracker(run, _sync(folder, run))
            except Exception as error:  # noqa: BLE001 (offline is left)
                why = f"it refused the run ({told(error)})"
        run = _start(wandb, asked, settings, "offline")
    except Exception as error:  # noqa: BLE001 (whatever W&B raises must not stop a training)
        say(f"this run is not logged, because wandb failed ({told(error)}); the run itself goes on")
        return Tracker()
    if why is not None:
        say(f"this run is logged offline, because {why}; to upload it later: {_sync(folder, run)}")
    return Tracker(run, _sync(folder, run))


def _forget_ended_service(wandb: Any) -> None:
    """Where the environment names a service that has ended, as a process before this one may leave it, names none."""
    try:
        wandb.setup()
    except Exception as error:  # noqa: BLE001 (what else is wrong shows when the run is started)
        if type(error).__name__ == "WandbServiceConnectionError":  # its module is not public
            os.environ.pop(SERVICE, None)


def _start(wandb: Any, asked: Mapping[str, Any], settings: Any, mode: str) -> Any:
    with redirect_stderr(io.StringIO()), _nameless(wandb.setup().settings):  # what matters of it is said in one line
        return wandb.init(**asked, mode=mode, settings=settings)


@contextmanager
def _nameless(session: Any) -> Iterator[None]:
    """Inside, W&B's variables name no run: a process has several, and each is one of its own."""
    kept = {name: getattr(session, name) for name in NAMING}
    try:
        for name in NAMING:
            setattr(session, name, None)
        yield
    finally:
        for name, value in kept.items():
            setattr(session, name, value)


@contextmanager
def _staged(run: Any) -> Iterator[None]:
    """Inside, W&B puts what it keeps of tables and artifacts into the run's folder: else the home folder has copies."""
    with variables({"WANDB_DATA_DIR": os.environ.get("WANDB_DATA_DIR") or str(Path(str(run.dir)).parent)}):
        yield


def _sync(folder: Path, run: Any) -> str:
    inside = Path(str(run.dir)).parent  # .../wandb/offline-run-.../files
    return f"wandb sync {folder / inside.parent.name / inside.name}"


def say(text: str, who: str = "W&B") -> None:
    """Writes a line to stderr, for one of the loggers."""
    Console(stderr=True).say(f"{who}: {text}")


def told(error: object) -> str:
    """The first line of an error that says something, or else its kind."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def bits_share(values: Mapping[str, Any]) -> dict[str, float]:
    """`bits_share`, the bits that are read as a fraction, of a record or a row that has bits: signatures differ in
    length.
    """
    agreeing, total = values.get("bits_agreeing"), values.get("bits_total")
    return {"bits_share": agreeing / total} if total and agreeing is not None else {}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
