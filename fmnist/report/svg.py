"""Matplotlib figures as SVG: whole files, and parts of a page that follow its colours."""

import io
import re
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from fmnist.report.drawing import BAND, BLUE, INK, MUTED, RULE, TIP, TIPS, VERMILION, any_script

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# The page's style sheet says what these are, in light and in dark.
_THEME = {INK: "currentColor", **{ink: f"var(--{name})" for ink, name in
          ((MUTED, "muted"), (RULE, "rule"), (BLUE, "blue"), (VERMILION, "vermilion"))}}  # fmt: skip
_INKS = re.compile("|".join(map(re.escape, _THEME)).lower())
_NAMES = {ink.lower(): name for ink, name in _THEME.items()}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def document(figure: Figure, ground: bool = True) -> str:
    """The figure as an SVG file's text: the same figure gives the same bytes; without `ground` it is transparent."""
    return _text(_drawn(figure, ground))


def _text(root: ElementTree.Element) -> str:
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _drawn(figure: Figure, ground: bool) -> ElementTree.Element:
    """The figure, in which groups and points have the titles that browsers show."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fmnist"}), any_script():
        figure.savefig(file, format="svg", transparent=not ground, metadata=_NO_METADATA)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(element)
    for element in list(root.iter()):
        _entitle(element)
    return root


def _entitle(group: ElementTree.Element) -> None:
    kind = next((prefix for prefix in (TIP, BAND) if group.get("id", "").startswith(prefix)), None)
    if kind is None:
        return
    name, *texts = group.attrib.pop("id").removeprefix(kind).split(TIPS)
    kinds = "band" if kind == BAND else "series tips" if texts else "series"
    group.attrib |= {"class": kinds, "data-name": name}
    points = [
        element for tag in ("use", "path") for element in group.iter(f"{{{_SVG}}}{tag}") if "id" not in element.attrib
    ]
    whole = len(points) == len(texts) > 0  # matplotlib leaves out points beyond the figure
    for element, text in zip(points, texts, strict=True) if whole else [(group, name)]:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = text
        element.insert(0, title)


def inline(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element for a page: its label is the alternative text, its inks are the page's.

    Args:
        figure: as `fmnist.report.figures` draws them.
        name: goes before every id in it, so that figures of one page do not share any.
    """
    root = _drawn(figure, ground=False)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": str(figure.get_label()), "class": "figure", "id": name}
    for element in root.iter():
        if element is not root:
            _adapt(element, name)
    return _text(root)


def _adapt(element: ElementTree.Element, name: str) -> None:
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif key in ("style", "fill", "stroke"):
            element.set(key, _INKS.sub(lambda ink: _NAMES[ink[0]], value))
        elif key == "clip-path":
            element.set(key, value.replace("url(#", f"url(#{name}-"))
