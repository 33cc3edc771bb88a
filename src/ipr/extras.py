"""What is installed with an extra alone, and how a command says that it is not there."""

from __future__ import annotations

from importlib.metadata import version

from ipr.errors import InputError

DISTRIBUTION = "ipr-passports"
"""The name of the package for pip; on the index `ipr` is another project."""

EXTRAS = {
    "onnx": "onnx",
    "onnxscript": "onnx",
    "optuna": "optuna",
    "wandb": "wandb",
    "wandb_workspaces": "wandb",
    "matplotlib": "report",
    "pandas": "report",
    "sklearn": "digits",
    "timm": "timm",
}
"""Module -> the extra of pyproject.toml that brings it."""


def own_version() -> str:
    """The version of this package."""
    return version(DISTRIBUTION)


def asked_for(error: ModuleNotFoundError) -> InputError | None:
    """What to tell of a module that is not installed; None where no extra brings it, which is a defect."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    remedy = f"pip install '{DISTRIBUTION}[{EXTRAS[module]}]'"
    return InputError("package", module, "is not installed, and this needs it", remedy)
