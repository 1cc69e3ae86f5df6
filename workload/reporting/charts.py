"""What the plots share: sizes in pixels, colors that follow the page, SVG that fits into it."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# matplotlib wants colors; each of these becomes a variable of the page's style, which has a value
# for light and one for dark.
PAINT = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "paper": "#010206",
    "upload": "#010211",
    "cold": "#010212",
    "queue": "#010217",
    "split": "#010213",
    "wait": "#010214",
    "recognize": "#010215",
    "failed": "#010216",
}
VARIABLES = {color: f"var(--{name})" for name, color in PAINT.items()}
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
SETTINGS: Any = {  # Any: the type is a list of 300 names
    "svg.fonttype": "none",  # text stays text: it is in the page's font and can be read aloud
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
    """An empty figure of 72 dots an inch: a point is a pixel."""
    made = Figure(figsize=(width_px / 72, height_px / 72), dpi=72, layout="constrained")
    made.set_facecolor("none")
    return made


def bare(axes: Any, grid: str) -> None:
    """Take the box around the plot away and put a fine grid along `grid` (x or y)."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, axis=grid)
    axes.tick_params(length=0, pad=6)


def svg(made: Figure, name: str, title: str, classes: str) -> str:
    """The figure as an `<svg>` for the page. `name` starts its IDs, `title` is read aloud.

    Only attributes are changed, never a text: a video may be called `font: 12px`. Characters that
    XML forbids must not be in the texts.
    """
    made.set_canvas(FigureCanvasSVG(made))
    out = io.StringIO()
    with warnings.catch_warnings():
        # the page's font draws the text, not matplotlib's, which may lack a letter
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        with mpl.rc_context({"svg.hashsalt": name}):
            made.savefig(out, format="svg", transparent=True)
    # matplotlib's own, and it escapes texts
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
    """Make an element part of a page: IDs that start with `name`, the page's font and colors."""
    element.tag = element.tag.replace(f"{{{SVG}}}", "")  # HTML knows the elements by their names
    # an attribute takes no variable
    style = element.get("style", "")
    for kind in ("fill", "stroke"):
        if element.get(kind) in VARIABLES:
            style += f"; {kind}: {element.attrib.pop(kind)}"
    style = re.sub(r"#[0-9a-f]{6}", lambda found: VARIABLES.get(found[0], found[0]), style)
    style = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", style)
    style = re.sub(r"font-family: [^;]*(; )?", "", style)  # newer matplotlib's, instead of `font`
    if style:
        element.set("style", style.removeprefix("; "))
    for attribute, value in list(element.attrib.items()):
        if attribute == "id":
            element.set("id", f"{name}-{value}")
        elif attribute == f"{{{XLINK}}}href":
            del element.attrib[attribute]
            element.set("href", value.replace("#", f"#{name}-", 1))
        else:
            element.set(attribute, value.replace("url(#", f"url(#{name}-"))


def printable(text: str, length: int) -> str:
    """`text` without what XML forbids, cut in its middle to `length` characters."""
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if len(clean) <= length:
        return clean
    tail = (length - 1) // 2
    return f"{clean[: length - 1 - tail]}…{clean[-tail:]}"
