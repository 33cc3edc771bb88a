"""The page as a browser's parser sees it, and the files beside it."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from ipr.errors import InputError
from ipr.reports.files import write_sections
from ipr.reports.formats import summary_markdown
from ipr.reports.page import page_html
from ipr.reports.section import CellState, Checked, Line, Picture, RunLink, Section, TableView, Value, with_unique_names
from ipr.reports.subjects import subject_of
from ipr.reports.svg import inline_svg, svg_file
from report_sections import curve, sections

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Every element with its attributes and text; fails on an end without a start, or the reverse."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag
        if tag in ("td", "th"):
            self.handle_data(" ")

    def handle_data(self, data):
        for _, _, text in self._open:
            text.append(data)

    def all(self, tag, **wanted):
        """(attributes, text) of every such element."""
        return [
            (attrs, " ".join("".join(text).split()))
            for name, attrs, text in self.elements
            if name == tag and all(attrs.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def html():
    return page_html("Passports", sections())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_ids_are_unique_and_every_reference_is_there(page):
    ids = Counter(attrs["id"] for _, attrs, _ in page.elements if "id" in attrs)
    assert max(ids.values()) == 1
    for _, attrs, _ in page.elements:
        for key, value in attrs.items():
            if key in ("href", "xlink:href") and value.startswith("#"):
                assert value[1:] in ids
            if key == "aria-labelledby":
                assert value in ids
            assert set(re.findall(r"url\(#([^)]+)\)", value or "")) <= set(ids)


def test_nothing_is_fetched(html, page):
    tags = {tag for tag, _, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "video", "audio"}
    assert not any("src" in attrs or "srcset" in attrs for _, attrs, _ in page.elements)
    assert all(attrs["href"].startswith("#") for _, attrs, _ in page.elements if "href" in attrs)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    (policy,) = [a["content"] for a, _ in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")


def test_every_value_stands_in_its_row(page):
    body = [(attrs, text) for attrs, text in page.all("tr") if "data-summary" not in attrs]
    lines = [line for section in sections() for table in section.tables for line in table.lines]
    rows = [row for row in body if row[1].startswith(tuple(line.cells[0].ours for line in lines))]
    assert len(rows) == len(lines)
    for (attrs, text), line in zip(rows, lines, strict=True):
        assert attrs == {f"data-{key}": "\n".join(sorted(values)) for key, values in line.about.items()}
        for value in line.cells:
            assert value.ours in text
            assert value.paper is None or f"paper {value.paper}" in text
    assert "66.1 ± 0.3 n 3 paper 86.00" in rows[1][1].replace("\xa0", " ")


def test_pictures_carry_what_they_are_about_and_a_caption(page):
    first, second = page.all("figure", **{"class": "picture"})
    assert first[0] == {"class": "picture", "data-scheme": "passport_v1\nuchida", "data-attack": "prune"}
    assert second[0] == {"class": "picture", "data-scheme": "passport_v2"}
    for attrs, _ in page.all("svg"):
        assert attrs["role"] == "img"
        assert page.all("figcaption", id=attrs["aria-labelledby"])


def test_filters_offer_what_is_there(page):
    assert [attrs["name"] for attrs, _ in page.all("select")] == ["scheme", "model", "dataset", "attack"]
    offered = {attrs["value"] for attrs, _ in page.all("option")}
    assert offered == {
        "", "baseline", "passport_v1", "passport_v2", "passport_v3", "uchida", "alexnet", "resnet18",
        "cifar10", "cifar100", "digits", "none", "finetune", "prune",
    }  # fmt: skip
    assert "hidden" in page.all("form")[0][0], "without JavaScript there are no filters"
    assert not [a for a, _ in page.all("tr") if "hidden" in a]


def test_a_page_without_anything_to_filter_has_no_filters():
    page = Page(page_html("T", [Section("a", "A", tables=[TableView("t", "c", ("x",), [Line((Value("1"),))])])]))
    assert not page.all("select")
    assert not page.all("form")


def test_statements_say_in_words_what_became_of_them(page):
    found = {attrs["class"]: text for attrs, text in page.all("li") if "class" in attrs}
    assert found["fail"].startswith("✗ FAIL Fine-tuning costs at most 1 point. accuracy_kept Measured: 2.1 points")
    assert "Why: The learning rate" in found["fail"]
    assert found["not-yet"].startswith("○ NOT YET")
    assert found["pass"].startswith("✓ PASS")


def test_summary(page):
    rows = {attrs["data-summary"]: text for attrs, text in page.all("tr") if "data-summary" in attrs}
    assert rows["study-table_06"] == "Table VI: fine-tuning cpu 1 1 1 9 1 1 1"
    assert rows["study-pruning"] == "Figure 6: pruning & <removal> smoke 1 0 0 1 0 0 0"
    assert rows["study-records"] == "Records of a folder"
    text = page.all("header")[0][1]
    assert "2 of 4 statements hold, 1 fails, 1 cannot be judged yet." in text
    assert "10 of 13 runs are done, 1 failed, 1 running, 1 planned." in text


def test_a_failed_cell_shows_reason_and_command_and_hostile_text_stays_text(html, page):
    (details,) = page.all("details", **{"class": "failed"})
    assert details[1].startswith("1 of 12 runs failed passport_v2-resnet18-cifar100-seed2")
    assert "training diverged in epoch 3 <script>alert(1)</script>" in details[1]
    assert "ipr train study=table_06 scheme=passport_v2" in details[1]
    assert len(page.all("script")) == 1
    assert "<removal>" not in html


HOSTILE = "\"'><script>alert(1)</script>&amp;{{ 7 * 7 }}"
ABOUT = {"scheme": frozenset({HOSTILE})}


def test_no_field_can_leave_its_place():
    figure = Figure(figsize=(2, 2))
    figure.text(0.5, 0.5, HOSTILE)
    section = Section(
        HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE,
        [TableView(HOSTILE, HOSTILE, (HOSTILE,), [Line((Value(HOSTILE, 1, HOSTILE),), ABOUT)], {HOSTILE: HOSTILE})],
        [Picture(HOSTILE, HOSTILE, figure, {"attack": frozenset({HOSTILE})}, figure)],
        [Checked(HOSTILE, HOSTILE, False, HOSTILE, HOSTILE)],
        [CellState(HOSTILE, HOSTILE, "failed", HOSTILE)],
        [HOSTILE],
        [HOSTILE],
        [RunLink(HOSTILE, ABOUT, {HOSTILE: HOSTILE})],
    )  # fmt: skip
    page = Page(page_html(HOSTILE, [section], HOSTILE))
    assert len(page.all("script")) == 1
    assert page.all("h1")[0][1] == HOSTILE
    assert page.all("tr", **{"data-scheme": HOSTILE})
    assert page.all("text")[0][1] == HOSTILE


def test_no_sections_is_a_page_that_says_so():
    assert Page(page_html("T", [])).all("main")[0][1] == "There is nothing to show yet."


def test_figures_take_the_pages_colours():
    svg = inline_svg(curve(), "one", "caption")
    root = ElementTree.fromstring(svg)
    styles = " ".join(element.get("style", "") for element in root.iter())
    assert "#000000" not in styles
    assert "stroke: currentColor" in styles
    assert "fill: var(--background)" in styles, "the legend's frame"
    assert {"#0072b2", "#d55e00"} <= set(re.findall(r"#[0-9a-f]{6}", styles)), "data keep their colours"
    assert root.get("fill") == "currentColor"
    assert not list(root.iter("style")), "it would hold for the whole page"
    tick, bar = [element.get("style") for element in root.iter("text") if element.text == "30"]
    assert "fill" not in tick, "it inherits currentColor"
    assert "#ffffff" in bar, "light text on a bar stays light"
    assert "test accuracy (%)" in [element.text for element in root.iter("text")]


def test_a_figure_is_left_as_it_is():
    figure, other = curve(), curve()
    inline_svg(figure, "a", "b")
    assert figure.get_facecolor() == other.get_facecolor()
    assert svg_file(figure) == svg_file(other)


def test_files(tmp_path):
    files = write_sections(sections(), tmp_path / "a" / "out", "Passports")
    names = [path.name for path in files]
    assert names == [
        *(f"table_06.{suffix}" for suffix in ("md", "csv", "tex")),
        *(f"pruning.{suffix}" for suffix in ("md", "csv", "tex", "svg", "png")),
        *("pruning-2.svg", "pruning-2.png"),
        *(f"quick.{suffix}" for suffix in ("md", "csv", "tex")),
        *("summary.md", "report.md", "index.html"),
    ]
    folder = tmp_path / "a" / "out"
    assert sorted(path.name for path in folder.iterdir()) == sorted(names), "nothing is left aside"
    linked = re.findall(r"\]\((.*?)\)", (folder / "report.md").read_text())
    assert linked == ["pruning.png", "pruning-2.png"]
    assert (folder / "pruning.png").read_bytes().startswith(b"\x89PNG")
    assert len(Page((folder / "index.html").read_text()).all("section")) == 3


@pytest.mark.slow
def test_the_same_sections_give_the_same_bytes(tmp_path):
    runs = [write_sections(sections(), tmp_path / name, "T") for name in ("a", "b")]
    for first, second in zip(*runs, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_files_that_are_there_are_replaced_and_others_left(tmp_path):
    (tmp_path / "index.html").write_text("what was there")
    (tmp_path / "mine.txt").write_text("mine")
    write_sections(sections()[2:], tmp_path, "T")
    assert "what was there" not in (tmp_path / "index.html").read_text()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^out=.*file: cannot be written.*; choose another folder$"):
        write_sections(sections()[2:], tmp_path / "file", "T")


def test_names_are_made_unique_once():
    table = TableView("../Report", "c", ("x",), [])
    given = [
        Section("a b", "A", tables=[table, replace(table, name="report"), replace(table, name="x")]),
        Section("a_b", "B", tables=[replace(table, name="X")]),
    ]
    named = with_unique_names(given)
    assert [section.name for section in named] == ["a_b", "a_b-2"]
    assert [table.name for section in named for table in section.tables] == ["_Report", "report-2", "x", "X-2"]
    assert with_unique_names(named) == named


def test_the_summary_counts_what_holds_and_names_what_fails():
    every = sections()
    lines = summary_markdown(every).splitlines()
    stated = [section for section in every if section.statements]
    assert len(lines) == 2 + len(stated)
    for line, section in zip(lines[2:], stated, strict=True):
        held = [s for s in section.statements if s.holds is True]
        assert f"| {len(held)} of {len(section.statements)} |" in line
        assert all((f"`{s.name}`" in line) == (s.holds is False) for s in section.statements)
    assert summary_markdown([]) == ""


def test_headings_are_explained_and_so_are_the_names_that_are_known(page):
    folded = [text for _, text in page.all("details", **{"class": "words"})]
    assert any("bits read share of the bits that is read" in text for text in folded)
    schemes = next(text for text in folded if text.startswith("What the 5 schemes are"))
    assert "passport_v1 (V1)" in schemes
    assert "uchida (Uchida)" in schemes


def test_runs_are_linked_from_where_the_page_is(tmp_path):
    runs = tmp_path / "runs"
    out = runs / "report" / "all"
    write_sections(sections()[2:], out, "T", runs)
    page = Page((out / "index.html").read_text())
    links = {text: attrs["href"] for attrs, text in page.all("a") if not attrs["href"].startswith("#")}
    assert {text: (out / unquote(href)).resolve() for text, href in links.items()} == {
        "train/a & b": runs / "train" / "a & b", "curves": runs / "train" / "a & b" / "metrics.csv",
    }  # fmt: skip
    (item,) = [attrs for attrs, _ in page.all("li") if "data-dataset" in attrs]
    assert item["data-dataset"] == "digits"


def test_a_page_to_hand_on_names_runs_and_no_folder(tmp_path):
    write_sections(sections()[2:], tmp_path / "page", "T", tmp_path / "runs")
    html = (tmp_path / "page" / "index.html").read_text()
    assert "train/a &amp; b" in html
    assert all(attrs["href"].startswith("#") for attrs, _ in Page(html).all("a"))


def test_a_page_of_one_part_has_no_summary_of_parts():
    assert not Page(page_html("T", sections()[:1])).all("nav")


def test_what_nobody_counts_is_no_column_of_the_summary():
    first = replace(sections()[0], cells=[CellState("a", "ipr train", "done")], statements=[])
    page = Page(page_html("T", [first, sections()[2]]))
    heads = [text for attrs, text in page.all("th", scope="col")][:3]
    assert heads[0] == "Study"
    assert "done" in heads
    assert "failed" not in [text for _, text in page.all("th", scope="col")]


def test_where_there_is_nothing_to_choose_there_is_no_filter():
    table = TableView("t", "c", ("x",), [Line((Value("1"),), subject_of([{"scheme": s, "model": "m"}])) for s in "ab"])
    page = Page(page_html("T", [Section("a", "A", tables=[table])]))
    assert [attrs["name"] for attrs, _ in page.all("select")] == ["scheme"]
    alone = replace(table, lines=table.lines[:1])
    assert not Page(page_html("T", [Section("a", "A", tables=[alone])])).all("form")
