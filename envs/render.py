"""Pictures of pairs, as text and as RGB images; the environments' `render` calls `frame`.

A `Scene` is what a view may show: the restricted view's scene holds no state, so no drawing can leak
it. Each problem may bring its own drawing (`EnvPair.draw`: a `Drawing`); every other pair, e.g. one from
a .POMDP file, gets the generic one: its states, actions and observations as cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.envs import canvas
from imm_rl.envs.canvas import RGB, Canvas
from imm_rl.errors import invalid

if TYPE_CHECKING:
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair, RenderMode
    from imm_rl.envs.render_maps import Board
    from imm_rl.envs.render_poses import PoseBoard

WIDTH, HEIGHT = 480, 400
"""Pixels of every picture."""
TOP, BOTTOM = 48, 352
"""Between these rows a drawing has the sheet to itself; above is the title, below the caption."""

NAMED_UP_TO = 6
"""Cells of the generic picture up to which each bears its name."""


class Scene(NamedTuple):
    """What there is to show.

    Attributes:
        pair: The problem.
        state: The state; None in the restricted view, which must not show it.
        observation: The last observation; None before the first.
        action: The last action; None at the start of an episode.
    """

    pair: EnvPair
    state: int | None
    observation: int | None
    action: int | None

    @property
    def model(self) -> TabularPOMDP:
        """The model of the pair."""
        return self.pair.model


class Drawing(NamedTuple):
    """How a problem is drawn: `text` returns lines, `picture` draws between TOP and BOTTOM.

    `board` says where the states lie, where that is known: beliefs and values are drawn on it.
    """

    text: Callable[[Scene], str]
    picture: Callable[[Scene, Canvas], None]
    board: Board | PoseBoard | None = None


def frame(scene: Scene, mode: RenderMode | None) -> str | RGB:
    """The scene as text (mode "ansi") or as an image (HEIGHT, WIDTH, 3) (mode "rgb_array").

    Raises:
        InvalidInputError: mode is None: the environment was made without one.
    """
    if mode == "ansi":
        return ansi(scene)
    if mode == "rgb_array":
        return rgb(scene)
    raise invalid(
        "render_mode", "be 'ansi' or 'rgb_array' to render", mode, "Give it to what makes the view"
    )


def ansi(scene: Scene) -> str:
    """The scene as lines of text."""
    drawn = body(scene)
    return f"{_title(scene)}\n{drawn}{caption(scene)}\n"


def body(scene: Scene) -> str:
    """The drawing alone as lines of text; nothing where a pair has none."""
    drawing = scene.pair.draw
    return f"{drawing.text(scene)}\n" if drawing else ""


def rgb(scene: Scene) -> RGB:
    """The scene as an image (HEIGHT, WIDTH, 3)."""
    sheet = Canvas(WIDTH, HEIGHT)
    drawing = scene.pair.draw or Drawing(lambda _: "", _cells)
    sheet.text(20, 25, scene.pair.name, 17, bold=True, anchor="lm", fit=250)
    sheet.text(WIDTH - 20, 25, _view(scene), 13, canvas.GREY, anchor="rm")
    drawing.picture(scene, sheet)
    sheet.line([(20, BOTTOM + 6), (WIDTH - 20, BOTTOM + 6)], canvas.LIGHT, 1.5)
    sheet.text(20, BOTTOM + 27, caption(scene), 13, anchor="lm", fit=WIDTH - 40)
    return sheet.pixels()


def caption(scene: Scene) -> str:
    """Last action, last observation and, where it may be shown, the state, by name."""
    model = scene.model
    words = [] if scene.action is None else [f"action: {model.action_names[scene.action]}"]
    seen = "nothing yet" if scene.observation is None else _observation_name(scene)
    words.append(f"observation: {seen}")
    if scene.state is not None:
        end = " (end)" if model.terminal[scene.state] else ""
        words.append(f"state: {model.state_names[scene.state]}{end}")
    return "   ".join(words)


def lookalikes(model: TabularPOMDP, observation: int | None) -> npt.NDArray[np.bool_]:
    """The states (S,) that may have given an observation; where there is none, those to start in."""
    if observation is None:
        return np.asarray(model.initial > 0.0)
    possible = np.zeros(model.n_states, dtype=bool)
    for action in range(model.n_actions):
        matrix = model.observation_of(action)
        dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
        possible |= dense[:, observation] > 0.0
    return possible


def _title(scene: Scene) -> str:
    return f"{scene.pair.name}, {_view(scene)}"


def _view(scene: Scene) -> str:
    return "restricted view" if scene.state is None else "full view"


def _observation_name(scene: Scene) -> str:
    return scene.model.observation_names[scene.observation or 0]


def _cells(scene: Scene, sheet: Canvas) -> None:
    """The generic picture: states, actions and observations as cells, what happened filled."""
    model = scene.model
    parts = [
        ("state", model.state_names, scene.state, canvas.ORANGE),
        ("action", model.action_names, scene.action, canvas.GOLD),
        ("observation", model.observation_names, scene.observation, canvas.TEAL),
    ]
    tops, heights = (TOP + 4, 168, 256), (76, 44, 56)
    for (kind, names, chosen, colour), top, height in zip(parts, tops, heights, strict=True):
        hidden = kind == "state" and chosen is None
        label = "hidden" if hidden else "none yet" if chosen is None else names[chosen]
        sheet.text(20, top + 11, f"{kind}: {label}", 13, anchor="lm", fit=WIDTH - 160)
        sheet.text(WIDTH - 20, top + 11, f"of {len(names)}", 12, canvas.GREY, anchor="rm")
        if len(names) <= NAMED_UP_TO:
            _chips(sheet, top + 26, ["?"] * len(names) if hidden else names, chosen, colour)
        else:
            _strip(sheet, top + 26, height, len(names), chosen, colour, hidden=hidden)


def _chips(
    sheet: Canvas, top: float, names: Sequence[str], chosen: int | None, colour: canvas.Colour
) -> None:
    """A few cells with their names in one row."""
    width = min((WIDTH - 40) / len(names), 132.0)
    for i, name in enumerate(names):
        x, words = 20 + i * width, canvas.WHITE if i == chosen else canvas.GREY
        sheet.box(x, top, width - 6, 38, colour if i == chosen else canvas.LIGHT, radius=6)
        sheet.text(x + width / 2 - 3, top + 19, name, 13, words, fit=width - 18)


def _strip(
    sheet: Canvas,
    top: float,
    height: float,
    count: int,
    chosen: int | None,
    colour: canvas.Colour,
    *,
    hidden: bool,
) -> None:
    """Many cells, in as many rows as make them nearest to square; a number each, or ? where hidden."""
    width = WIDTH - 40
    n_rows = min(range(1, 101), key=lambda n: abs(math.log(height / n / (width / -(-count // n)))))
    columns = -(-count // n_rows)
    side = min(width / columns, height / -(-count // columns), 38.0)
    if side < 5:  # too small to tell apart: a block, and a dot for the one that counts
        sheet.box(20, top, columns * side, -(-count // columns) * side, canvas.LIGHT)
        if chosen is not None:
            row, column = divmod(chosen, columns)
            sheet.disc(20 + (column + 0.5) * side, top + (row + 0.5) * side, 4, colour)
        return
    gap = 3.0 if side > 12 else 1.0
    for i in range(count):
        row, column = divmod(i, columns)
        x, y = 20 + column * side, top + row * side
        fill, words = (colour, canvas.WHITE) if i == chosen else (canvas.LIGHT, canvas.GREY)
        sheet.box(x, y, side - gap, side - gap, fill, radius=min(4.0, side / 6))
        if side > 20:
            name = "?" if hidden else str(i)
            sheet.text(x + (side - gap) / 2, y + (side - gap) / 2, name, side / 2.8, words)
