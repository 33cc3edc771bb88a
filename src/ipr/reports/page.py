"""A report as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from markupsafe import Markup

from ipr.reports.formats import is_numeric, verdict
from ipr.reports.names import described
from ipr.reports.section import Section, with_unique_names
from ipr.reports.selection import rank
from ipr.reports.subjects import FILTERS, NO_ATTACK, About
from ipr.reports.svg import inline_svg
from ipr.reports.templates import asset, template
from ipr.reports.units import label

STATES = ("done", "failed", "running", "planned")
VERDICTS = {"PASS": "\N{CHECK MARK}", "FAIL": "\N{BALLOT X}", "NOT YET": "\N{WHITE CIRCLE}"}


def page_html(title: str, sections: Sequence[Section], runs: str | None = None) -> str:
    """One page: a summary, filters, then for each section its statements, tables, pictures, runs and provenance.

    Style, script and pictures are inside; every text is escaped. Without JavaScript all is shown, sections fold, and
    there are no filters and no sorting. A filter hides what is not about the choice; the choice is kept in the address,
    e.g. `index.html#scheme=passport_v1&attack=prune`. A click on a heading sorts its table.

    Args:
        title: of the page.
        sections: in the order in which they appear.
        runs: the folder of runs as seen from the page, to link to; None for no links.
    """
    named = with_unique_names(sections)
    filters = {key: values for key in FILTERS if (values := _values(named, key))}
    return template("page.html.jinja").render(
        title=title,
        sections=named,
        style=Markup(asset("page.css")),  # noqa: S704 our own file
        script=Markup(asset("page.js")),  # noqa: S704 our own file
        summary=_in_words(named),
        states=STATES,
        icons=VERDICTS,
        filters=filters,
        label=label,
        named={group: described(group, filters.get(group, ())) for group in ("scheme", "attack")},
        link=None if runs is None else lambda *parts: quote("/".join((runs, *parts)), safe="/"),
        shown_states=[state for state in STATES if any(cell.state == state for s in named for cell in s.cells)],
        shown_verdicts=[word for word in VERDICTS if any(verdict(one) == word for s in named for one in s.statements)],
        compared=any(v.paper is not None for s in named for t in s.tables for line in t.lines for v in line.cells),
        state_counts=lambda section: Counter(cell.state for cell in section.cells),
        verdict_counts=lambda section: Counter(map(verdict, section.statements)),
        verdict=verdict,
        is_numeric=is_numeric,
        about=_about,
        svg=lambda figure, kind, name: Markup(  # noqa: S704 matplotlib's own, and its text is escaped
            inline_svg(figure, f"{kind}-{name}", f"figure-{name}")
        ),
    )


def _about(about: About) -> dict[str, str]:
    """What a row, a picture or a run is about as attributes: the values of each filter, a line each."""
    return {f"data-{key}": "\n".join(sorted(about[key])) for key in FILTERS if key in about}


def _values(sections: Iterable[Section], key: str) -> list[str]:
    rows = (value for s in sections for t in s.tables for line in t.lines for value in line.about.get(key, ()))
    pictures = (value for s in sections for p in s.pictures for value in p.about.get(key, ()))
    found = {*rows, *pictures} - ({NO_ATTACK} if key == "attack" else set())
    alone = [NO_ATTACK] if key == "attack" and found else []  # where nothing was attacked there is nothing to choose
    return alone + sorted(found, key=lambda value: rank(key, value))


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
        counts = [f"{states['done']} of {states.total()} runs are done"]
        counts += [f"{states[state]} {state}" for state in STATES[1:] if states[state]]
        sentences.append(", ".join(counts) + ".")
    return " ".join(sentences)
