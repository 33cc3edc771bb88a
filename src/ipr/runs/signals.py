"""Who hears the signals that a training gets."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning as L

Handler = Callable[[int, FrameType | None], Any] | int | None


class KeepSigterm(L.Callback):
    """Leaves SIGTERM to whoever handled it before the training began, where somebody did.

    Lightning would end the training, and a job that ends by itself while it is preempted is not queued again: submitit
    passes SIGTERM over, and waits for its own signal.

    Args:
        before: the handler before the training; the default one is replaced by Lightning's.
    """

    def __init__(self, before: Handler) -> None:
        self.before = before

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts it back, as Lightning has put its own in place by now."""
        if self.before not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.before)
