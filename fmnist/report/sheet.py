"""Pictures drawn by Pillow: Matplotlib lays out hundreds of numbers for longer than a small network trains.

Places and sizes are in points, 1/72 inch, from the upper left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]  # (height, width, 3)
_ALIGN = {"m": "center", "r": "right"}


@cache
def _font(pixels: float, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with Matplotlib: the same letters everywhere."""
    file = Path(mpl.get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' * bold}.ttf")
    return ImageFont.truetype(str(file), pixels, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True)
class Grid:
    """Where rows and columns stand."""

    left: float
    top: float
    width: float
    height: float
    rows: int
    columns: int

    def centre(self, row: float, column: float) -> tuple[float, float]:
        """Of a cell."""
        x, y = (column + 0.5) * self.width / self.columns, (row + 0.5) * self.height / self.rows
        return self.left + x, self.top + y


class Sheet:
    """A white picture."""

    def __init__(self, width: float, height: float, dpi: int) -> None:
        """With so many pixels per inch."""
        self._scale = dpi / 72
        self._image = Image.new("RGB", (round(width * self._scale), round(height * self._scale)), "white")
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> Pixels:
        """What is drawn."""
        return np.array(self._image)

    def write(
        self, place: tuple[float, float], text: str, size: float, anchor: str, *, colour: str = "black",
        bold: bool = False, upright: bool = False,
    ) -> None:  # fmt: skip
        """Lines that hang at a place (Pillow's `ma`), stand on it (`md`), surround it (`mm`), end at it (`rm`)."""
        x, y = (each * self._scale for each in place)
        look: dict[str, Any] = {"font": _font(size * self._scale, bold), "anchor": anchor, "align": _ALIGN[anchor[0]]}
        look["spacing"] = size * self._scale / 4
        if not upright:
            self._draw.text((x, y), text, colour, **look)
            return
        left, top, right, bottom = (round(edge) for edge in self._draw.textbbox((0, 0), text, **look))
        letters = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(letters).text((-left, -top), text, 255, **look)
        self._image.paste(colour, (round(x + top), round(y - right)), letters.transpose(Image.Transpose.ROTATE_90))

    def cells(self, grid: Grid, colours: Pixels, rule: str | None = None) -> None:
        """A cell of each colour (rows, columns, 3), perhaps with lines between them, and a frame."""
        xs = [round((grid.left + n * grid.width / grid.columns) * self._scale) for n in range(grid.columns + 1)]
        ys = [round((grid.top + n * grid.height / grid.rows) * self._scale) for n in range(grid.rows + 1)]
        for row, column in np.ndindex(grid.rows, grid.columns):
            cell = xs[column], ys[row], xs[column + 1], ys[row + 1]
            self._draw.rectangle(cell, tuple(colours[row, column].tolist()), rule)
        self._draw.rectangle((xs[0], ys[0], xs[-1], ys[-1]), outline="black")

    def picture(self, grid: Grid, pixels: Pixels) -> None:
        """Pixels (height, width), grey, as large as the grid."""
        left, top, width, height = (
            round(each * self._scale) for each in (grid.left, grid.top, grid.width, grid.height)
        )
        self._image.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, top))

    def names(self, grid: Grid, names: Sequence[str], size: float, *, upright: bool = False) -> None:
        """The names of the rows, and the same of the columns."""
        for number, name in enumerate(names):
            x, y = grid.centre(number, number)
            self.write((grid.left - size / 3, y), name, size, "rm")
            below = grid.top + grid.height + size / 3
            self.write((x, below), name, size, "rm" if upright else "ma", upright=upright)
