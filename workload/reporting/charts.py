"""Shared by all plots: sizes in pixels, colors that follow the page, SVG to embed in it."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# matplotlib needs literal colors. Each of these stands for a CSS variable of the page, which has
# a light and a dark value.
PAINT = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "paper": "#010206",
    "upload": "#010211",
    "cold": "#010212",
    "queue": "#010217",
    "slot": "#010218",
    "split": "#010213",
    "wait": "#010214",
    "recognize": "#010215",
    "failed": "#010216",
}
VARIABLES = {color: f"var(--{name})" for name, color in PAINT.items()}
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
SETTINGS: Any = {  # Any: its type is a list of 300 names
    "svg.fonttype": "none",  # keep text as text, in the page's font and readable aloud
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": PAINT["ink"],
    "text.parse_math": False,  # a video may be called $x$
    "axes.labelcolor": PAINT["muted"],
    "axes.edgecolor": PAINT["line"],
    "axes.linewidth": 1,
    "axes.axisbelow": True,
    "xtick.color": PAINT["line"],
    "ytick.color": PAINT["line"],
    "xtick.labelcolor": PAINT["muted"],
    "ytick.labelcolor": PAINT["muted"],
    "grid.color": PAINT["line"],
    "grid.linewidth": 0.7,
    "hatch.linewidth": 1.2,
    "legend.frameon": False,
}


def figure(width_px: int, height_px: int) -> Figure:
    """An empty figure at 72 dpi, so that a point is a pixel."""
    made = Figure(figsize=(width_px / 72, height_px / 72), dpi=72, layout="constrained")
    made.set_facecolor("none")
    return made


def bare(axes: Any, grid: str) -> None:
    """Remove the box around the plot and add a fine grid along `grid` (x, y or both)."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, axis=grid)
    axes.tick_params(length=0, pad=6)


def svg(made: Figure, name: str, title: str, classes: str) -> str:
    """The figure as an `<svg>` element. `name` prefixes its IDs; screen readers read `title`.

    Changes attributes but never text, because a video may be called `font: 12px`. Texts must not
    contain characters that XML forbids.
    """
    made.set_canvas(FigureCanvasSVG(made))
    out = io.StringIO()
    with warnings.catch_warnings():
        # the page's font draws the text, so glyphs that matplotlib's font lacks do not matter
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        with mpl.rc_context({"svg.hashsalt": name}):
            made.savefig(out, format="svg", transparent=True)
    # matplotlib wrote this, and it escapes texts
    drawn = ElementTree.fromstring(out.getvalue())  # noqa: S314
    for metadata in drawn.findall(f"{{{SVG}}}metadata"):
        drawn.remove(metadata)
    for element in drawn.iter():
        _adapt(element, name)
    head = {"class": classes, "viewBox": drawn.attrib["viewBox"], "role": "img"}
    drawn.attrib.clear()
    drawn.attrib.update(head, **{"aria-labelledby": f"{name}-title"})
    heading = ElementTree.Element("title", id=f"{name}-title")
    heading.text = title
    drawn.insert(0, heading)
    return ElementTree.tostring(drawn, encoding="unicode")


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Adapt an element to the page: prefix IDs with `name`, use the page's font and colors."""
    element.tag = element.tag.replace(f"{{{SVG}}}", "")  # HTML has no namespaces
    # CSS variables work in styles, not in attributes
    style = element.get("style", "")
    for kind in ("fill", "stroke"):
        if element.get(kind) in VARIABLES:
            style += f"; {kind}: {element.attrib.pop(kind)}"
    style = re.sub(r"#[0-9a-f]{6}", lambda found: VARIABLES.get(found[0], found[0]), style)
    style = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", style)
    style = re.sub(r"font-family: [^;]*(; )?", "", style)  # newer versions
    if style:
        element.set("style", style.removeprefix("; "))
    for attribute, value in list(element.attrib.items()):
        if attribute == "d":
            element.set("d", _short(value))
        elif attribute == "id":
            element.set("id", f"{name}-{value}")
        elif attribute == f"{{{XLINK}}}href":
            del element.attrib[attribute]
            element.set("href", value.replace("#", f"#{name}-", 1))
        else:
            element.set(attribute, value.replace("url(#", f"url(#{name}-"))


def _short(path: str) -> str:
    """A path in tenths of pixels and without needless spaces: half of matplotlib's bytes."""
    tenths = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}", path)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", tenths.replace(".0 ", " "))


def printable(text: str, length: int) -> str:
    """`text` without characters that XML forbids, shortened in the middle to `length`."""
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if len(clean) <= length:
        return clean
    tail = (length - 1) // 2
    return f"{clean[: length - 1 - tail]}…{clean[-tail:]}"
