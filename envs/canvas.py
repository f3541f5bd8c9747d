"""`Canvas`: shapes and text on an RGB image; what the pictures of `imm_rl.envs.render` are drawn with.

Pillow draws, at twice the size, and the result is halved: smooth edges without a drawing library of
our own. Pillow and the font come with matplotlib and are imported when the first picture is drawn.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
RGB: TypeAlias = npt.NDArray[np.uint8]

PAPER: Colour = (250, 249, 246)
INK: Colour = (43, 45, 66)
GREY: Colour = (141, 147, 164)
LIGHT: Colour = (226, 227, 232)
WALL: Colour = (88, 92, 115)
RED: Colour = (205, 84, 76)
ORANGE: Colour = (226, 111, 62)
TEAL: Colour = (42, 157, 143)
GOLD: Colour = (233, 184, 66)
SAND: Colour = (246, 226, 174)
WOOD: Colour = (164, 116, 73)
WHITE: Colour = (255, 255, 255)

_SCALE = 2


class Canvas:
    """An empty sheet; all lengths are pixels of the finished picture, from the upper left corner.

    Args:
        width: Pixels of the finished picture.
        height: Likewise.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: Colour | None,
        *,
        line: Colour | None = None,
        thick: float = 2,
        radius: float = 0,
    ) -> None:
        """A rectangle, its corners rounded by radius."""
        corners = self._scaled((x, y), (x + width, y + height))
        self._draw.rounded_rectangle(
            corners, radius * _SCALE, fill=fill, outline=line, width=self._width(line, thick)
        )

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        fill: Colour | None,
        *,
        line: Colour | None = None,
        thick: float = 2,
        squash: float = 1.0,
    ) -> None:
        """A disc around (x, y); squash below 1 makes it flat."""
        corners = self._scaled((x - radius, y - radius * squash), (x + radius, y + radius * squash))
        self._draw.ellipse(corners, fill=fill, outline=line, width=self._width(line, thick))

    def line(self, points: list[Point], colour: Colour, thick: float = 2) -> None:
        """A line through points."""
        self._draw.line(
            self._scaled(*points), fill=colour, width=round(thick * _SCALE), joint="curve"
        )

    def shape(self, points: list[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon(self._scaled(*points), fill=fill)

    def arc(
        self, x: float, y: float, radius: float, ends: Point, colour: Colour, thick: float = 2
    ) -> None:
        """A part of a circle between two angles in degrees, clockwise from the right."""
        corners = self._scaled((x - radius, y - radius), (x + radius, y + radius))
        self._draw.arc(corners, *ends, fill=colour, width=round(thick * _SCALE))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        colour: Colour = INK,
        *,
        anchor: Literal["lm", "mm", "rm"] = "mm",
        bold: bool = False,
        fit: float | None = None,
    ) -> None:
        """Words at (x, y), which is their left, middle or right; made smaller to fit a width."""
        font = _font(round(size * _SCALE), bold)
        if fit is not None and font.getlength(words) > fit * _SCALE:
            size = max(size * fit * _SCALE / font.getlength(words), 7.0)
            font = _font(round(size * _SCALE), bold)
        self._draw.text((x * _SCALE, y * _SCALE), words, fill=colour, font=font, anchor=anchor)

    def pixels(self) -> RGB:
        """The finished picture, (height, width, 3)."""
        from PIL import Image

        small = self._image.resize((self.width, self.height), Image.Resampling.BOX)
        return np.array(small, dtype=np.uint8)

    @staticmethod
    def _scaled(*points: Point) -> list[Any]:
        return [(x * _SCALE, y * _SCALE) for x, y in points]

    @staticmethod
    def _width(line: Colour | None, thick: float) -> int:
        return 0 if line is None else round(thick * _SCALE)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies share of the way from first to second."""
    return tuple(  # type: ignore[return-value]  # three entries in, three out
        round(a + (b - a) * share) for a, b in zip(first, second, strict=True)
    )


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
