"""Figures as SVG: a file of its own, and a part of a page that takes the page's colours."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure


def svg_file(figure: Figure) -> bytes:
    """A figure as an SVG file; the same figure, made anew, gives the same bytes."""
    return _svg(figure, transparent=False)


def inline_svg(figure: Figure, name: str, labelled_by: str) -> str:
    """A figure as an `<svg>` element to stand in an HTML page.

    Black becomes the page's text colour, white its background, and greys what lies between, so that axes and text
    follow a light and a dark page (the page must set `--background`); colours of data stay, and so does light text,
    which stands on a bar. The font is the page's.

    Args:
        figure: the figure; its colours are left as they are.
        name: unique in the page; it begins every id inside.
        labelled_by: the id of the caption.
    """
    # S314: matplotlib wrote it a moment ago
    root = ElementTree.fromstring(_svg(figure, transparent=True))  # noqa: S314
    for parent in list(root.iter()):
        for child in [
            c for c in parent if _local(c.tag) in ("metadata", "style")
        ]:  # a style would hold for all the page
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        if "style" in element.attrib:
            element.attrib["style"] = _themed(element.attrib["style"], element.tag)
    text = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w.:-]+)\)", text)) | {
        href[1:] for element in root.iter() if (href := element.get("href", "")).startswith("#")
    }
    for element in root.iter():
        if "id" in element.attrib and element.attrib["id"] not in used:
            del element.attrib["id"]
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = f"{name}-{value}"
            elif key == "href" and value.startswith("#"):
                element.attrib[key] = f"#{name}-{value[1:]}"
            else:
                element.attrib[key] = value.replace("url(#", f"url(#{name}-")
    width = 96 * figure.get_figwidth()  # inches to CSS pixels
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": labelled_by,
        "fill": "currentColor",  # matplotlib leaves black fills out
        "style": f"--natural: {width:.0f}px",
    }
    return re.sub(r"\n\s*", "\n", ElementTree.tostring(root, encoding="unicode")).strip()


def _svg(figure: Figure, transparent: bool) -> bytes:
    buffer = io.BytesIO()
    # text stays text, and the names inside are the same in every run
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ipr"}):
        figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _themed(style: str, tag: str) -> str:
    def colour(match: re.Match[str]) -> str:
        grey = int(match["grey"], 16)
        if tag in ("text", "tspan", "g") and grey > 0x80:
            return match[0]
        if grey == 0:
            return f"{match['key']}: currentColor"
        if grey == 0xFF:
            return f"{match['key']}: var(--background)"
        share = round(100 * (255 - grey) / 255)
        # a browser that cannot mix keeps the first
        return f"{match[0]}; {match['key']}: color-mix(in srgb, currentColor {share}%, var(--background))"

    style = re.sub(r"font-family: [^;]*(; )?", "", style)  # the page's own
    return re.sub(r"(?P<key>fill|stroke): #(?P<grey>[0-9a-f]{2})(?P=grey){2}\b", colour, style)
