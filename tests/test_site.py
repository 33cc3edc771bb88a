"""The documentation as a site: it builds without the network and without a warning, and no link of it leads nowhere."""

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ipr

TOP = Path(__file__).parents[1]
PAGES = (
    "index", "tutorial", "own-network", "cluster", "studies", "ownership", "claims", "verdicts", "results/index",
    "results/cpu/report", "extending", "reference/api", "reference/configuration", "glossary", "troubleshooting",
    "method", "threat-model", "repository/index",
)  # fmt: skip
WITHOUT_NETWORK = """
import socket, sys
def refuse(*_): raise OSError("the network was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(sys.argv[1:])
"""


class Page(HTMLParser):
    """What a page has: anchors, links, what a browser fetches for it, and text between tags."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.fetched = {""}, [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.anchors |= {about[name] for name in ("id", "name") if about.get(name)}
        if tag == "a" and about.get("href"):
            self.links.append(about["href"])
        elif tag in ("img", "script", "source", "iframe") and about.get("src"):
            self.fetched.append(about["src"])
        elif tag == "link" and about.get("href") and about.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(about["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site's folder, and what was printed."""
    folder = tmp_path_factory.mktemp("site")
    arguments = ["build", "--strict", "--config-file", str(TOP / "mkdocs.yml"), "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-c", WITHOUT_NETWORK, *arguments]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Its pages by their paths, the report among them that is copied as it is (`results/cpu/index.html`)."""
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.mark.slow
@pytest.mark.system
def test_every_document_is_a_page(site):
    made = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert {*PAGES} <= made
    documents = {path.relative_to(TOP / "docs").with_suffix("") for path in (TOP / "docs").rglob("*.md")}
    assert {(one.parent / one.name.replace("README", "index")).as_posix() for one in documents} <= made


@pytest.mark.slow
@pytest.mark.system
def test_every_link_of_every_page_leads_somewhere(site, pages):
    wrong = []
    for path, page in pages.items():
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") and link in page.links:
                continue  # of another site; whoever reads follows it by himself
            base = site if link.startswith("/") else path.parent
            target = Path(os.path.normpath(base / unquote(parts.path).lstrip("/"))) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = not parts.scheme and not parts.netloc and target.is_file() and target.is_relative_to(site)
            anchors = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not there or unquote(parts.fragment) not in anchors:
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert wrong == []
    assert sum(len(page.links) for page in pages.values()) > 1000


@pytest.mark.slow
@pytest.mark.system
def test_nothing_is_fetched_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert not [url for url in page.fetched if re.match(r"(\w+:)?//", url)], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", path.read_text()), path


@pytest.mark.slow
@pytest.mark.system
def test_files_outside_the_documents_are_pages_whose_links_are_turned(site, pages):
    readme = pages[site / "repository" / "index.html"]
    assert "../studies.html" in readme.links
    assert "../images/quickstart.png" in readme.fetched
    assert "repository/index.html#protect-your-own-network" in pages[site / "own-network.html"].links
    shown = (site / "repository" / "conf" / "hydra" / "launcher" / "slurm.yaml.html").read_text()
    comment = (TOP / "conf" / "hydra" / "launcher" / "slurm.yaml").read_text().splitlines()[0]
    assert comment in html.unescape(re.sub(r"<[^>]+>", "", shown))


def test_the_page_on_python_names_what_is_public_and_what_packages_import():
    page = (TOP / "docs" / "reference" / "api.md").read_text()
    named = re.findall(r"^::: ipr\.([\w.]+)$", page, re.MULTILINE)
    assert len(named) == len({*named})
    assert {name for name in named if "." not in name} == {*ipr.__all__}
    imports = [
        (module, name.strip())
        for path in (TOP / "tests" / "plugin_package" / "src").rglob("*.py")
        for module, names in re.findall(r"^from ipr\.([\w.]+) import (.+)$", path.read_text(), re.MULTILINE)
        for name in names.split(",")
    ]
    assert len(imports) > 20
    constants = {(module, name) for module, name in imports if name.isupper()}
    assert {f"{module}.{name}" for module, name in {*imports} - constants} - {*named} <= {"errors.InputError"}
