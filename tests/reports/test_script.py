"""What the page's script decides, run by node; and the page itself in a browser. Skipped where there is none."""

import json
import re
import shutil
import subprocess

import pytest

from ipr.reports.page import page_html
from ipr.reports.templates import asset
from report_sections import sections

NODE = shutil.which("node")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

with_node = pytest.mark.skipif(NODE is None, reason="there is no node")
with_browser = pytest.mark.skipif(BROWSER is None, reason="there is no browser")


def computed(expression):
    """The value of an expression in which the script's functions are known."""
    code = f"{asset('page.js')}\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run([NODE, "-"], input=code, capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


@with_node
@pytest.mark.parametrize(
    ("about", "wanted", "fits"),
    [
        ({"attack": "prune"}, {"attack": "prune"}, True),
        ({"attack": "fine_prune"}, {"attack": "prune"}, False),
        ({"attack": "none\nprune"}, {"attack": "prune"}, True),
        ({"scheme": "uchida"}, {"attack": "prune"}, False),  # about no attack
        ({}, {"attack": "prune"}, False),
        ({}, {"attack": "", "scheme": ""}, True),
        ({"attack": "prune", "scheme": "uchida"}, {"attack": "prune", "scheme": "passport_v1"}, False),
    ],
)
def test_what_is_not_about_the_choice_does_not_fit(about, wanted, fits):
    assert computed(f"fits({json.dumps(about)}, {json.dumps(wanted)})") is fits


@with_node
def test_cells_are_sorted_by_their_first_number():
    texts = ["9.5 ± 0.1", "224 of 224", "10.0", "-2.0", "", "\N{MINUS SIGN}3.5", "\N{EN DASH}", "-"]
    keys = computed(f"{json.dumps(texts)}.map((text) => sortKey(text, true))")
    assert keys == [9.5, 224, 10, -2, None, -3.5, None, None]
    assert computed(f"sorted({json.dumps(keys)}, false)") == [5, 3, 0, 2, 1, 4, 6, 7]
    assert computed(f"sorted({json.dumps(keys)}, true)") == [1, 2, 0, 3, 5, 4, 6, 7], "empty ones stay last"


@with_node
def test_words_are_sorted_as_words_and_equal_ones_stay_in_order():
    keys = computed('["b 2", "A", "b 2", "a"].map((text) => sortKey(text, false))')
    assert computed(f"sorted({json.dumps(keys)}, false)") == [1, 3, 0, 2]
    assert computed(f"sorted({json.dumps(keys)}, true)") == [0, 2, 1, 3]


def opened(path, fragment, script=""):
    """The page's HTML after its script, and then another, has run."""
    if script:
        path.write_text(path.read_text().replace("</body>", f"<script>{script}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}", "--dump-dom"]
    done = subprocess.run([BROWSER, *flags, f"{path.as_uri()}#{fragment}"], capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.fixture
def page(tmp_path):
    (tmp_path / "index.html").write_text(page_html("T", sections()))
    return tmp_path / "index.html"


@pytest.mark.slow
@with_browser
def test_a_linked_filter_leaves_what_is_about_it(page):
    dom = opened(page, "attack=prune&scheme=uchida")
    rows = re.findall(r"<tr (data-[^>]*)>", dom)
    left = [row for row in rows if "hidden" not in row and "data-summary" not in row]
    assert len(left) == 1
    assert 'data-scheme="uchida"' in left[0]
    assert "1 of 23 rows and 1 of 2 figures shown." in dom


@pytest.mark.slow
@with_browser
def test_a_heading_sorts_and_says_so(page):
    click = "document.querySelector('figure.table').querySelectorAll('thead button')[3].click()"
    dom = opened(page, "", click)
    heads = re.findall(r"<th [^>]*aria-sort=.(\w+)[^>]*><button[^>]*>([^<]+)<", dom)
    assert heads == [("ascending", "accuracy")]
    rows = re.search(r"<tbody>.*?</tbody>", dom[dom.index('<figure class="table') :], re.DOTALL)[0].split("</tr>")[:-1]
    column = [float(re.findall(r'class="ours">([\d.]+) ', row)[0]) for row in rows]
    assert len(column) == 16
    assert column == sorted(column)
