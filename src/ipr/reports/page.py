"""A report as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ipr.reports.formats import is_numeric, verdict
from ipr.reports.section import FILTERS, Section, with_unique_names
from ipr.reports.svg import inline_svg

STATES = ("done", "failed", "running", "planned")
VERDICTS = {"PASS": "\N{CHECK MARK}", "FAIL": "\N{BALLOT X}", "NOT YET": "\N{WHITE CIRCLE}"}


def page_html(title: str, sections: Sequence[Section]) -> str:
    """One page: a summary, filters, then for each section its statements, tables, pictures and provenance.

    Style, script and pictures are inside; every text is escaped. Without JavaScript all is shown and there are
    no filters. A filter hides rows and pictures that are about something else; the choice is kept in the address, e.g.
    `index.html#scheme=passport_v1&attack=prune`.

    Args:
        title: of the page.
        sections: in the order in which they appear.
    """
    named = with_unique_names(sections)
    return template("page.html.jinja").render(
        title=title,
        sections=named,
        style=Markup(asset("page.css")),  # noqa: S704 our own file
        script=Markup(asset("page.js")),  # noqa: S704 our own file
        summary=_in_words(named),
        states=STATES,
        icons=VERDICTS,
        filters={key: values for key in FILTERS if (values := _values(named, key))},
        compared=any(v.paper is not None for s in named for t in s.tables for line in t.lines for v in line.cells),
        state_counts=lambda section: Counter(cell.state for cell in section.cells),
        verdict_counts=lambda section: Counter(map(verdict, section.statements)),
        verdict=verdict,
        is_numeric=is_numeric,
        about=_about,
        svg=lambda picture: Markup(  # noqa: S704 matplotlib's own, and its text is escaped
            inline_svg(picture.figure, f"svg-{picture.name}", f"figure-{picture.name}")
        ),
    )


def template(name: str) -> Template:
    """One of our own templates; it escapes every text and refuses names that nobody gave it."""
    # not PackageLoader, which looks for the package's folder itself and fails in a zip
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(asset(name))


def asset(name: str) -> str:
    """The text of one of our own files in `assets/`."""
    return (resources.files("ipr.reports") / "assets" / name).read_text(encoding="utf-8")


def _about(about: Mapping[str, str | frozenset[str]]) -> dict[str, str]:
    """What a row or picture is about as attributes: the values of each filter, a line each."""
    lines = {}
    for key in FILTERS:
        if key in about:
            value = about[key]
            lines[f"data-{key}"] = value if isinstance(value, str) else "\n".join(sorted(value))
    return lines


def _values(sections: Iterable[Section], key: str) -> list[str]:
    rows = (line.about[key] for s in sections for t in s.tables for line in t.lines if key in line.about)
    pictures = (value for s in sections for p in s.pictures for value in p.about.get(key, ()))
    return sorted({*rows, *pictures})


def _in_words(sections: Sequence[Section]) -> str:
    """The state of all sections in two sentences."""
    verdicts = Counter(verdict(s) for section in sections for s in section.statements)
    states = Counter(cell.state for section in sections for cell in section.cells)
    sentences = []
    if verdicts:
        counts = [f"{verdicts['PASS']} of {verdicts.total()} statements hold"]
        counts += [f"{verdicts['FAIL']} fail{'s' * (verdicts['FAIL'] == 1)}"] if verdicts["FAIL"] else []
        counts += [f"{verdicts['NOT YET']} cannot be judged yet"] if verdicts["NOT YET"] else []
        sentences.append(", ".join(counts) + ".")
    if states:
        counts = [f"{states['done']} of {states.total()} cells are done"]
        counts += [f"{states[state]} {state}" for state in STATES[1:] if states[state]]
        sentences.append(", ".join(counts) + ".")
    return " ".join(sentences)
