"""A hook of MkDocs: files outside docs/ that pages link to become pages of the site, so that no link leads out of it.

The documents are read in the repository, too, where `../README.md` is right. In the site such a file is the page
`repository/README.md`; one that is no Markdown, and a folder, is shown as code (`repository/conf/train.yaml.md`).
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
SHOWN = (".md", ".py", ".toml", ".yaml")
"""Of a folder these files are shown."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file that a page links to, and for each that such a page links to."""
    waiting = [page.src_uri for page in files.documentation_pages()]
    while waiting:
        source = _source(waiting.pop())
        for target in _outside(source):
            place = _place(target)
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, content=_text(target)))
                if target.suffix == ".md":
                    waiting.append(place)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page to where their targets are in the site."""
    source = _source(page.file.src_uri)
    if source.suffix != ".md":  # a file that is shown as code has no links
        return markdown
    here = os.path.dirname(page.file.src_uri)

    def turned(found: re.Match[str]) -> str:
        target = _target(source, found[2])
        return f"{found[1]}{os.path.relpath(_place(target), here)}{found[3]}" if target else found[0]

    return LINK.sub(turned, markdown)


def _source(uri: str) -> Path:
    """The file of the repository that a page of the site is made of."""
    if not uri.startswith("repository/"):
        return DOCS / uri
    path = TOP / uri.removeprefix("repository/")
    return path if path.exists() else path.with_suffix("")


def _target(source: Path, link: str) -> Path | None:
    """The file or folder of the repository that a link means; None for an address, and for what is not there."""
    if ":" in link or link.startswith("/"):
        return None
    path = Path(os.path.normpath(source.parent / link))
    return path if path.exists() and path.is_relative_to(TOP) else None


def _outside(source: Path) -> Iterator[Path]:
    """What a page links to outside docs/."""
    if source.suffix == ".md" and source.exists():
        targets = (_target(source, found[2]) for found in LINK.finditer(source.read_text()))
        yield from (path for path in targets if path and not path.is_relative_to(DOCS))


def _place(target: Path) -> str:
    """Where a file of the repository is in the site: its page's source, as MkDocs names it."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    name = f"repository/{target.relative_to(TOP).as_posix()}"
    return name if target.suffix == ".md" else f"{name}.md"


def _text(target: Path) -> str:
    """A page's Markdown: the file's own, a notebook's cells, or a file, or those of a folder, as blocks of code."""
    if target.suffix == ".md":
        return target.read_text()
    shown = sorted(path for path in target.rglob("*") if path.suffix in SHOWN and "build" not in path.parts)
    if target.suffix == ".ipynb":
        blocks = [_cell(cell) for cell in json.loads(target.read_text())["cells"]]
    else:
        blocks = [_block(path) for path in (shown if target.is_dir() else [target])]
    return "\n\n".join([f"# {target.relative_to(TOP).as_posix()}", *blocks]) + "\n"


def _block(path: Path) -> str:
    kind = {".py": "python", ".md": "markdown"}.get(path.suffix, path.suffix.removeprefix(".") or "text")
    return f"`{path.relative_to(TOP).as_posix()}`:\n\n````{kind}\n{path.read_text().rstrip()}\n````"


def _cell(cell: dict[str, Any]) -> str:
    """A cell of a notebook."""
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "markdown" else f"````python\n{text}\n````"
