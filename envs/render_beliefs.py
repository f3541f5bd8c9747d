"""Drawings of beliefs: a heat map where states have places on a map, and the likeliest states by name.

They show what the restricted view lets one believe, beside the drawings of what is the case.
Index letters: S states, C cells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from imm_rl.envs import canvas, render_maps
from imm_rl.envs.canvas import RGB, Canvas, Colour
from imm_rl.envs.layout import OFFSETS, by_cell, layout
from imm_rl.envs.render import BOTTOM, HEIGHT, WIDTH
from imm_rl.envs.render_poses import NO_HEADING, PoseBoard

if TYPE_CHECKING:
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.pair import EnvPair

SHADES = "·░▒▓█"
"""Of a cell in text, up to the likeliest cell; the first one: less than a thousandth of that."""


def likeliest(pair: EnvPair, belief: FloatArray, n: int) -> list[tuple[str, float]]:
    """Names and probabilities of up to n states, the likeliest first; none that is impossible."""
    order = np.argsort(-belief, kind="stable")[:n]
    names = pair.restricted_model.state_names
    return [(names[s], float(belief[s])) for s in order if belief[s] > 0.0]


def text(pair: EnvPair, belief: FloatArray) -> str:
    """The map in shades of how likely each cell is; nothing where states have no places."""
    board = layout(pair)
    if board is None:
        return ""
    chance = by_cell(board, belief)
    chance /= chance.max()
    rows, columns = board.shape
    letters = [["#"] * columns for _ in range(rows)]
    for (row, column), share in zip(board.cells, chance, strict=True):
        level = 0 if share < 1e-3 else 1 + min(int(share * 4), 3)
        letters[row][column] = SHADES[level]
    return "\n".join("".join(row) for row in letters)


def picture(pair: EnvPair, belief: FloatArray | None, seen: str) -> RGB | None:
    """A heat map of a belief, (HEIGHT, WIDTH, 3); None where states have no places.

    Args:
        pair: The problem.
        belief: (S,), or None when the episode is over.
        seen: The name of the last observation.
    """
    board = layout(pair)
    if board is None:
        return None
    sheet = Canvas(WIDTH, HEIGHT)
    sheet.text(20, 25, "belief", 17, bold=True, anchor="lm")
    sheet.text(WIDTH - 20, 25, "from the restricted view", 13, canvas.GREY, anchor="rm")
    heat_map(sheet, board, np.zeros(len(board.places)) if belief is None else belief)
    sheet.line([(20, BOTTOM + 6), (WIDTH - 20, BOTTOM + 6)], canvas.LIGHT, 1.5)
    sheet.text(20, BOTTOM + 27, f"observation: {seen}", 13, anchor="lm", fit=WIDTH - 40)
    return sheet.pixels()


def heat_map(sheet: Canvas, board: PoseBoard, belief: FloatArray) -> None:
    """Draws the cells of a map as likely as they are, an arrow head for each heading, with a colour bar."""
    plot = render_maps.plotted(sheet, board.cells, board.shape)
    posed = board.headings != NO_HEADING
    flat = by_cell(board, np.where(posed, 0.0, belief))
    poses = np.zeros((len(board.cells), 4))
    np.add.at(poses, (board.places[posed], board.headings[posed]), belief[posed])
    most = max(float(flat.max()), float(poses.max()))
    scale = most or 1.0
    turning = np.zeros(len(board.cells), dtype=bool)
    turning[board.places[posed]] = True
    for cell, place in enumerate(board.cells):
        x, y, side = plot.cell(place)
        gap = 1.0 if side > 12 else 0.0
        fill = shade(0.0 if turning[cell] else float(flat[cell]) / scale)
        sheet.box(x + gap, y + gap, side - 2 * gap, side - 2 * gap, fill)
        for heading in range(4 * bool(turning[cell])):
            tint = shade(float(poses[cell, heading]) / scale)
            sheet.shape(_pointer(x + side / 2, y + side / 2, side, heading), tint)
    _bar(sheet, most)


def _pointer(x: float, y: float, side: float, heading: int) -> list[tuple[float, float]]:
    """An arrow head in the part of a cell around (x, y) that a heading looks at."""
    down, right = OFFSETS[heading]
    tip, base = 0.47 * side, 0.16 * side
    corners = [(x + right * tip, y + down * tip)]
    for across in (-base, base):
        corners.append((x + right * base + down * across, y + down * base + right * across))
    return corners


def _bar(sheet: Canvas, most: float) -> None:
    """A colour bar in the title, from 0 to the largest probability."""
    if most == 0.0:
        return
    left, wide, n = 116.0, 110.0, 32
    for i in range(n):
        sheet.box(left + wide * i / n, 20, wide / n + 0.5, 10, shade((i + 0.5) / n))
    sheet.text(left - 6, 25, "0", 12, canvas.GREY, anchor="rm")
    sheet.text(left + wide + 6, 25, f"{most:.2f}", 12, canvas.GREY, anchor="lm")


@lru_cache(maxsize=1)
def _viridis() -> FloatArray:
    from matplotlib import colormaps  # late: text needs no colours

    return np.array(colormaps["viridis"](np.linspace(0.0, 1.0, 256))[:, :3] * 255.0)


def shade(share: float) -> Colour:
    """The colour of a share in [0, 1]: viridis, which colour-blind readers and grey printers can read."""
    red, green, blue = _viridis()[round(min(max(share, 0.0), 1.0) * 255)]
    return round(red), round(green), round(blue)


def seen_name(pair: EnvPair, observation: int | None) -> str:
    """An observation by name."""
    return "nothing yet" if observation is None else pair.model.observation_names[observation]
