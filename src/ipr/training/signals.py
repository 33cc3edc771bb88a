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

    Of several processes each ends by itself where nobody handled it: Lightning's handler would have them broadcast in
    the midst of a step, and wait for one another for ever. The first is interrupted, as from a keyboard, and the others
    hear of that.

    Args:
        before: the handler before the training; the default one is replaced by Lightning's.
    """

    def __init__(self, before: Handler) -> None:
        self.before = before

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts it back, as Lightning has put its own in place by now."""
        handler = self.before
        if handler in (signal.SIG_DFL, None) and trainer.world_size > 1:
            handler = signal.default_int_handler if trainer.is_global_zero else signal.SIG_DFL
        elif handler in (signal.SIG_DFL, None):
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
