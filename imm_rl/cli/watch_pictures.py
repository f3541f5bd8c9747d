"""The frames of `imm-rl watch --out`: two sheets side by side, and below them what each would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.agents.watching import FeatureSight, Moment, TabularSight
from imm_rl.cli import watch_text
from imm_rl.envs import canvas, render, render_beliefs
from imm_rl.envs.canvas import RGB, Canvas
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.render import HEIGHT, WIDTH

if TYPE_CHECKING:
    from imm_rl.cli.watch_policies import Watched
    from imm_rl.envs.model import FloatArray

PANEL = 216
"""Pixels of what stands below the sheets; with them a frame is 960 × 616."""

ROWS = 6
"""Actions and states that it has room for."""

COLOURS = (canvas.ORANGE, canvas.TEAL)
"""Of who acts and of the restricted policy: told apart by colour-blind readers, and in this order."""

_STEP, _TOP = 24.0, 70.0


def frame(watched: Watched, moment: Moment, episodes: int) -> RGB:
    """A moment as an image (HEIGHT + PANEL, 2 · WIDTH, 3)."""
    sight = moment.sight
    left, right = (
        _tabular(watched, moment, sight)
        if isinstance(sight, TabularSight)
        else _gymnasium(watched, sight)
    )
    sheet = Canvas(2 * WIDTH, PANEL)
    sheet.line([(20, 1), (2 * WIDTH - 20, 1)], canvas.LIGHT, 1.5)
    sheet.text(20, 22, watch_text.head(watched, moment, episodes), 15, bold=True, anchor="lm")
    if moment.action is not None:
        if watched.action_names():
            _actions(sheet, watched, moment)
        else:
            _ranges(sheet, watched, moment)
    if isinstance(sight, TabularSight):
        _states(sheet, watched, sight)
    return np.concatenate([np.concatenate([left, right], axis=1), sheet.pixels()])


def _tabular(watched: Watched, moment: Moment, sight: TabularSight) -> tuple[RGB, RGB]:
    """The full view; the belief on the map, or the restricted view where there is no map."""
    pair = watched.pair
    assert isinstance(pair, EnvPair)  # its sights are of this kind
    scene = render.Scene(pair, sight.state, sight.observation, moment.last_action)
    seen = render_beliefs.seen_name(pair, sight.observation)
    believed = render_beliefs.picture(pair, sight.belief, seen)
    hidden = render.rgb(scene._replace(state=None)) if believed is None else believed
    return render.rgb(scene), hidden


def _gymnasium(watched: Watched, sight: FeatureSight) -> tuple[RGB, RGB]:
    """The environment's own picture, and the features of the restricted view as numbers."""
    sheets = []
    for title, what in ((watched.pair.name, "full view"), ("features", "restricted view")):
        sheet = Canvas(WIDTH, HEIGHT)
        sheet.text(20, 25, title, 17, bold=True, anchor="lm", fit=260)
        sheet.text(WIDTH - 20, 25, what, 13, canvas.GREY, anchor="rm")
        sheets.append(sheet)
    features = watch_text.features(watched, sight)
    if not features:
        sheets[1].text(WIDTH / 2, HEIGHT / 2, "there is none", 15, canvas.GREY)
    for i, (name, value) in enumerate(features):
        y = 80 + 34 * i
        sheets[1].text(40, y, name, 15, anchor="lm")
        sheets[1].text(WIDTH - 40, y, f"{value:.3f}", 17, bold=True, anchor="rm")
        sheets[1].line([(40, y + 17), (WIDTH - 40, y + 17)], canvas.LIGHT, 1)
    more = 0 if sight.view is None else len(sight.view) - len(features)
    if more > 0:
        sheets[1].text(
            40, 80 + 34 * len(features), f"and {more:,} more", 13, canvas.GREY, anchor="lm"
        )
    left, right = (sheet.pixels() for sheet in sheets)
    if sight.picture is not None:
        _paste(left, sight.picture)
    return left, right


def _paste(page: RGB, picture: RGB) -> None:
    """Puts a picture of any size into the middle of a page, below its title."""
    from PIL import Image

    top, wide, high = 48, WIDTH - 40, HEIGHT - 60
    scale = min(wide / picture.shape[1], high / picture.shape[0])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    # Pixel art stays sharp when it grows; all else is smoothed.
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    small = np.asarray(Image.fromarray(picture).resize(size, how))
    x, y = (WIDTH - size[0]) // 2, top + (high - size[1]) // 2
    page[y : y + size[1], x : x + size[0]] = small


def _legend(sheet: Canvas, columns: list[tuple[str, FloatArray]], xs: list[float]) -> None:
    for (name, _), x, colour in zip(columns, xs, COLOURS, strict=False):
        sheet.box(x, 41, 11, 11, colour, radius=3)
        sheet.text(x + 17, 47, name, 12.5, anchor="lm", fit=155)


def _actions(sheet: Canvas, watched: Watched, moment: Moment) -> None:
    """Bars of probabilities; the action that is taken is bold."""
    columns = watch_text.columns_of(watched, moment)
    names = watched.action_names()
    chosen = int(moment.action) - watch_text.first_action(watched)
    shown = watch_text.shown_actions([answer for _, answer in columns], chosen, ROWS)
    xs = [142.0, 318.0]
    sheet.text(20, 47, "next action", 12.5, canvas.GREY, anchor="lm")
    _legend(sheet, columns, xs)
    if len(shown) < len(names):
        shown = watch_text.shown_actions([answer for _, answer in columns], chosen, ROWS - 1)
        y = _TOP + _STEP * (ROWS - 1) + 8
        words = f"and {len(names) - len(shown):,} that are less likely"
        sheet.text(20, y, words, 13, canvas.GREY, anchor="lm")
    for i, a in enumerate(shown):
        y = _TOP + _STEP * i + 8
        if a == chosen:
            sheet.box(
                14, y - 11, WIDTH - 24, 22, canvas.mix(canvas.GOLD, canvas.WHITE, 0.7), radius=5
            )
        sheet.text(20, y, names[a], 13, anchor="lm", bold=a == chosen, fit=114)
        for (_, answer), x, colour in zip(columns, xs, COLOURS, strict=False):
            _probability(sheet, x, y, float(answer[a]), colour)


def _probability(sheet: Canvas, x: float, y: float, share: float, colour: canvas.Colour) -> None:
    sheet.box(x, y - 7, 108, 14, canvas.LIGHT, radius=3)
    if share >= 0.005:
        sheet.box(x, y - 7, max(108 * share, 3.0), 14, colour, radius=3)
    sheet.text(x + 146, y, f"{share:.2f}", 12.5, anchor="rm")


def _ranges(sheet: Canvas, watched: Watched, moment: Moment) -> None:
    """Of continuous actions: means as marks, standard deviations as bars, ▼ what is done."""
    columns = watch_text.columns_of(watched, moment)
    xs = [142.0, 318.0]
    sheet.text(20, 47, "next action", 12.5, canvas.GREY, anchor="lm")
    _legend(sheet, columns, xs)
    action = np.asarray(moment.action, dtype=np.float64).reshape(-1)
    space: Any = watched.pair.action_space  # type: ignore[union-attr]  # no tabular pair's
    low, high = (np.asarray(b, dtype=np.float64).reshape(-1) for b in (space.low, space.high))
    for d in range(min(len(action), ROWS - 1)):
        y = _TOP + _STEP * d + 8
        sheet.text(20, y, f"entry {d}: {action[d]:.3f}", 13, anchor="lm", bold=True, fit=114)
        bounded = np.isfinite(low[d]) and np.isfinite(high[d])
        for (_, answer), x, colour in zip(columns, xs, COLOURS, strict=False):
            mean, std = answer[0, d], answer[1, d]
            ends = (low[d], high[d]) if bounded else (mean - 4 * std, mean + 4 * std)

            def at(value: float, ends: tuple[float, float] = ends, x: float = x) -> float:
                return x + 108 * float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0))

            sheet.box(x, y - 7, 108, 14, canvas.LIGHT, radius=3)
            left, right = at(mean - std), at(mean + std)
            faint = canvas.mix(colour, canvas.WHITE, 0.5)
            sheet.box(left, y - 7, max(right - left, 2.0), 14, faint, radius=3)
            sheet.line([(at(mean), y - 7), (at(mean), y + 7)], colour, 3)
            tip = at(action[d])
            sheet.shape([(tip - 4, y - 11), (tip + 4, y - 11), (tip, y - 4)], canvas.INK)
            sheet.text(x + 152, y, f"{mean:.2f}", 12.5, anchor="rm")
    y = _TOP + _STEP * min(len(action), ROWS - 1) + 8
    words = "line and number: mean   bar: ± one standard deviation   ▼ what is done"
    if len(action) > ROWS - 1:
        words = f"and {len(action) - ROWS + 1:,} more   {words}"
    sheet.text(20, y, words, 12, canvas.GREY, anchor="lm")


def _states(sheet: Canvas, watched: Watched, sight: TabularSight) -> None:
    """The likeliest states as bars."""
    pair = watched.pair
    assert isinstance(pair, EnvPair)  # its sights are of this kind
    left = WIDTH + 20.0
    sheet.text(left, 47, "likeliest states, from the restricted view", 12.5, anchor="lm")
    sheet.text(2 * WIDTH - 36, 47, "bold: the true one", 12.5, canvas.GREY, anchor="rm")
    if sight.belief is None:
        sheet.text(left, _TOP + 8, "the episode is over", 13, canvas.GREY, anchor="lm")
        return
    purple = render_beliefs.shade(0.25)
    true = pair.model.state_names[sight.state]
    rows, others = believed(watched, sight)
    for i, (name, chance) in enumerate(rows):
        y = _TOP + _STEP * i + 8
        rest = others > 0 and i == len(rows) - 1
        ink = canvas.GREY if rest else canvas.INK
        sheet.text(left, y, name, 13, ink, anchor="lm", bold=name == true and not rest, fit=176)
        sheet.box(left + 186, y - 7, 188, 14, canvas.LIGHT, radius=3)
        tint = canvas.GREY if rest else purple
        sheet.box(left + 186, y - 7, max(188 * chance, 2.0), 14, tint, radius=3)
        sheet.text(left + 424, y, f"{chance:.3f}", 12.5, ink, anchor="rm")


def believed(watched: Watched, sight: TabularSight) -> tuple[list[tuple[str, float]], int]:
    """The rows of the list of states, at most `ROWS`, and how many states the last one stands for.

    That is 0 where every state that may be has a row of its own; else the last row is what all others
    have together, as the terminal says it.
    """
    assert isinstance(watched.pair, EnvPair)
    assert sight.belief is not None
    possible = int((sight.belief > 0.0).sum())
    if possible <= ROWS:
        return render_beliefs.likeliest(watched.pair, sight.belief, ROWS), 0
    rows = render_beliefs.likeliest(watched.pair, sight.belief, ROWS - 1)
    others = possible - len(rows)
    left = max(1.0 - sum(chance for _, chance in rows), 0.0)
    return [*rows, (f"{others:,} others", left)], others
