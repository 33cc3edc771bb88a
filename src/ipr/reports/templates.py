"""Our own templates, and what else lies in `assets/`: pages need neither pandas nor matplotlib for them."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, StrictUndefined, Template


def template(name: str) -> Template:
    """One of our own templates; it escapes every text and refuses names that nobody gave it."""
    # not PackageLoader, which looks for the package's folder itself and fails in a zip
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(asset(name))


def asset(name: str) -> str:
    """The text of one of our own files in `assets/`."""
    return (resources.files("ipr.reports") / "assets" / name).read_text(encoding="utf-8")
