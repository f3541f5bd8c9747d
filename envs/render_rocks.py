"""The drawing of RockSample: the map with its rocks, the rover, and what the last check said.

Good rocks are gems, bad ones round stones; in the restricted view, which knows neither the rover's cell
nor the qualities, rocks are question marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from imm_rl.envs import canvas
from imm_rl.envs.canvas import Canvas, Colour
from imm_rl.envs.render import BOTTOM, TOP, WIDTH, Drawing, Scene

_MOVES = 4
_EXIT = 34.0
"""Pixels of the strip to the east through which the rover leaves."""
_GROUND = canvas.mix(canvas.SAND, canvas.WHITE, 0.55)
_STONE = canvas.mix(canvas.GREY, canvas.WOOD, 0.35)
_GEM = canvas.TEAL


def drawing(size: int, rocks: tuple[tuple[int, int], ...]) -> Drawing:
    """The drawing of a map of size × size cells with rocks in these cells (x, y)."""
    plan = _Map(size, rocks)
    return Drawing(plan.text, plan.picture)


class _Facts(NamedTuple):
    """What a scene shows.

    Attributes:
        rover: Its cell; None where it is hidden or gone.
        qualities: "+" or "-" for each rock, "?" where hidden.
        checked: The rock that the last action checked, and whether the reading was good.
    """

    rover: tuple[int, int] | None
    qualities: str
    checked: tuple[int, bool] | None


@dataclass(frozen=True)
class _Map:
    size: int
    rocks: tuple[tuple[int, int], ...]

    def facts(self, scene: Scene) -> _Facts:
        n_rocks = len(self.rocks)
        checked = None
        if scene.action is not None and _MOVES <= scene.action < _MOVES + n_rocks:
            checked = scene.action - _MOVES, scene.observation == 0
        if scene.state is None or scene.state >= self.size**2 * 2**n_rocks:
            return _Facts(None, "?" * n_rocks, checked)
        cell, quality = divmod(scene.state, 2**n_rocks)
        marks = format(quality, f"0{n_rocks}b").replace("1", "+").replace("0", "-")
        return _Facts(divmod(cell, self.size), marks, checked)

    def text(self, scene: Scene) -> str:
        """North at the top; a rock is its number and quality, the rover @, the way out >."""
        rover, qualities, _ = self.facts(scene)
        wide = len(str(len(self.rocks) - 1))
        lines = []
        for y in reversed(range(self.size)):
            line = ""
            for x in range(self.size):
                there = "@" if (x, y) == rover else " "
                what = ".".rjust(wide) + " "
                if (x, y) in self.rocks:
                    rock = self.rocks.index((x, y))
                    what = str(rock).rjust(wide) + qualities[rock]
                line += there + what
            lines.append(line + ">")
        return "\n".join(lines)

    def picture(self, scene: Scene, sheet: Canvas) -> None:
        """The map, the rocks, the rover; a ray to the rock that was checked."""
        rover, qualities, checked = self.facts(scene)
        side = min((WIDTH - 40 - _EXIT) / self.size, (BOTTOM - TOP - 12) / self.size)
        left = (WIDTH - _EXIT - side * self.size) / 2
        top = (TOP + BOTTOM - side * self.size) / 2
        self._ground(sheet, left, top, side)

        def middle(cell: tuple[int, int]) -> tuple[float, float]:
            return left + (cell[0] + 0.5) * side, top + (self.size - cell[1] - 0.5) * side

        if checked is not None and rover is not None:
            (x, y), (rock_x, rock_y) = middle(rover), middle(self.rocks[checked[0]])
            ray = [(x, y - side * 0.16), (rock_x, rock_y + side * 0.2)]
            sheet.line(ray, canvas.mix(canvas.ORANGE, canvas.WHITE, 0.35), max(side / 16, 2))
        for i, cell in enumerate(self.rocks):
            x, y = middle(cell)
            reading = checked[1] if checked is not None and checked[0] == i else None
            _rock(sheet, (x, y + side * 0.2, side), str(i), qualities[i], reading)
        if rover is not None:
            _rover(sheet, *middle(rover), side)

    def _ground(self, sheet: Canvas, left: float, top: float, side: float) -> None:
        whole = side * self.size
        sheet.box(left, top, whole, whole, canvas.mix(canvas.SAND, canvas.WOOD, 0.25))
        gap = 2.0 if side > 12 else 0.0
        for i in range(self.size * self.size):
            row, column = divmod(i, self.size)
            x, y = left + column * side + gap / 2, top + row * side + gap / 2
            sheet.box(x, y, side - gap, side - gap, _GROUND)
        strip = canvas.mix(canvas.GOLD, canvas.WHITE, 0.45)
        sheet.box(left + whole + 4, top, _EXIT - 4, whole, strip, radius=6)
        x = left + whole + 2 + _EXIT / 2
        dark = canvas.mix(canvas.GOLD, canvas.INK, 0.6)
        sheet.text(x, top + whole / 2 - 14, "exit", 13, dark, bold=True)
        y = top + whole / 2 + 8
        sheet.shape([(x - 7, y - 8), (x - 7, y + 8), (x + 8, y)], dark)


def _rock(
    sheet: Canvas,
    where: tuple[float, float, float],
    number: str,
    quality: str,
    reading: bool | None,
) -> None:
    x, y, side = where
    radius = side * 0.25
    if quality == "+":
        tall = radius * 1.05
        gem = [(x - radius, y - tall * 0.3), (x - radius * 0.5, y - tall * 0.9)]
        gem += [(x + radius * 0.5, y - tall * 0.9), (x + radius, y - tall * 0.3), (x, y + tall)]
        sheet.shape(gem, _GEM)
        bright = canvas.mix(_GEM, canvas.WHITE, 0.5)
        facet = [gem[0], gem[3], (x, y + tall)]
        sheet.shape(facet, canvas.mix(_GEM, canvas.WHITE, 0.2))
        sheet.line([gem[0], gem[3]], bright, max(side / 40, 1))
        sheet.text(x, y - tall * 0.02, number, max(side * 0.2, 8), canvas.WHITE, bold=True)
    else:
        fill = _STONE if quality == "-" else canvas.mix(canvas.GREY, canvas.WHITE, 0.35)
        sheet.disc(x, y, radius, fill, squash=0.8)
        if quality == "-":
            sheet.disc(x - radius * 0.45, y - radius * 0.3, radius * 0.16, _shade(fill))
            sheet.disc(x + radius * 0.5, y + radius * 0.25, radius * 0.2, _shade(fill))
        words = number if quality == "-" else f"{number}?"
        sheet.text(x, y, words, max(side * 0.2, 8), canvas.WHITE, bold=True)
    if reading is not None:
        _badge(sheet, x + side * 0.3, y - side * 0.02, max(side * 0.13, 6), good=reading)


def _badge(sheet: Canvas, x: float, y: float, radius: float, *, good: bool) -> None:
    """What a check said: a plus or a minus."""
    sheet.disc(x, y, radius, canvas.ORANGE, line=canvas.WHITE, thick=1.5)
    arm, thick = radius * 0.55, max(radius / 4, 1.5)
    sheet.line([(x - arm, y), (x + arm, y)], canvas.WHITE, thick)
    if good:
        sheet.line([(x, y - arm), (x, y + arm)], canvas.WHITE, thick)


def _rover(sheet: Canvas, x: float, y: float, side: float) -> None:
    """A body on three wheels with a mast, in the upper half of its cell."""
    wide, y = side * 0.52, y - side * 0.14
    tall = side * 0.2
    sheet.line([(x + wide * 0.2, y - tall * 0.4), (x + wide * 0.2, y - tall * 1.3)], canvas.INK, 2)
    sheet.box(x + wide * 0.08, y - tall * 1.45, wide * 0.3, tall * 0.5, canvas.INK, radius=2)
    sheet.box(x - wide / 2, y - tall / 2, wide, tall, canvas.ORANGE, radius=side * 0.05)
    for dx in (-0.36, 0.0, 0.36):
        sheet.disc(x + wide * dx, y + tall * 0.6, side * 0.075, canvas.INK)
        sheet.disc(x + wide * dx, y + tall * 0.6, side * 0.03, canvas.LIGHT)


def _shade(colour: Colour) -> Colour:
    return canvas.mix(colour, canvas.INK, 0.25)
