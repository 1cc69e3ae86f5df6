"""What the plots share: sizes in pixels, colours that follow the page, SVG that fits into it."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# matplotlib wants colours; each of these becomes a variable of the page's style, which has a value
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
    "recognise": "#010215",
    "failed": "#010216",
}
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

    matplotlib escapes texts; characters that XML forbids must not be in them.
    """
    made.set_canvas(FigureCanvasSVG(made))
    out = io.StringIO()
    with warnings.catch_warnings():
        # the page's font draws the text, not matplotlib's, which may lack a letter
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        with mpl.rc_context({"svg.hashsalt": name}):
            made.savefig(out, format="svg", transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (id|xlink:href)="(#?)', rf' \1="\2{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace("xlink:href", "href")
    for variable, colour in PAINT.items():
        text = text.replace(f": {colour}", f": var(--{variable})")
        # an attribute takes no variable
        text = text.replace(f'fill="{colour}"', f'style="fill: var(--{variable})"')
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    head = re.match(r"<svg[^>]*>", text)
    box = re.search(r'viewBox="[^"]*"', head.group() if head else "")
    if head is None or box is None:
        raise RuntimeError(f"matplotlib wrote no svg element for the plot {name}.")
    opening = f'<svg class="{classes}" {box.group()} role="img" aria-labelledby="{name}-title">'
    return f'{opening}<title id="{name}-title">{title}</title>{text[head.end() :]}'


def printable(text: str, length: int) -> str:
    """`text` without what XML forbids, cut in its middle to `length` characters."""
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if len(clean) <= length:
        return clean
    tail = (length - 1) // 2
    return f"{clean[: length - 1 - tail]}…{clean[-tail:]}"
