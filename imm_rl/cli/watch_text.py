"""`imm-rl watch` on a terminal: each moment of an episode as lines of text, redrawn in place."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.agents.watching import TERMINATED, FeatureSight, Moment, TabularSight
from imm_rl.cli.console import number
from imm_rl.envs import render, render_beliefs
from imm_rl.envs.pair import EnvPair

if TYPE_CHECKING:
    from imm_rl.cli.watch_policies import Watched
    from imm_rl.envs.model import FloatArray

LIKELIEST = 4
"""States of a belief that are named."""

MOST_ACTIONS = 12
MOST_FEATURES = 8
WIDEST = 100
"""Columns up to which drawings stand side by side."""

_BAR = 12
_CLEAR, _HOME, _REST, _LINE = "\x1b[2J", "\x1b[H", "\x1b[J", "\x1b[K"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


def show(
    watched: Watched, moments: Iterator[Moment], episodes: int, fps: float, *, live: bool
) -> None:
    """Prints episodes: live on a terminal that can, else one moment below the other."""
    if not (live and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        print(watched.about)
        for moment in moments:
            print(f"\n{frame(watched, moment, episodes)}", flush=True)
        return
    print(_HIDE + _CLEAR, end="")
    try:
        for moment in moments:
            text = f"{watched.about}\n\n{frame(watched, moment, episodes)}"
            print(_fitted(text), end="", flush=True)
            time.sleep(1.0 / fps)
    finally:
        print(_SHOW, flush=True)


def _fitted(text: str) -> str:
    """The frame over the one before; what a small terminal cannot show is cut, lest it scrolls."""
    columns, rows = shutil.get_terminal_size()
    lines = [line[: columns - 1] + _LINE for line in text.split("\n")[: rows - 1]]
    return _HOME + "\n".join(lines) + _REST


def frame(watched: Watched, moment: Moment, episodes: int) -> str:
    """A moment as lines of text."""
    parts = [head(watched, moment, episodes), *_sight(watched, moment), ""]
    return "\n".join([*parts, *_actions(watched, moment)]).rstrip()


def head(watched: Watched, moment: Moment, episodes: int) -> str:
    """Where, when and what was earned; pictures have it too."""
    words = [watched.pair.name]
    if episodes > 1:
        words.append(f"episode {moment.episode + 1} of {episodes}")
    words.append(f"step {moment.step}")
    if moment.step:
        words.append(f"reward {number(moment.reward)}")
    words.append(f"return {number(moment.total)}")
    if moment.ended:
        words.append("the end" if moment.ended == TERMINATED else "cut here")
    return "   ".join(words)


def action_name(watched: Watched, action: Any) -> str:
    """A discrete action by name, a continuous one as numbers."""
    names = watched.action_names()
    if not names:
        return " ".join(f"{value:.3f}" for value in np.asarray(action).reshape(-1))
    return names[int(action) - first_action(watched)]


def first_action(watched: Watched) -> int:
    """The number of the first of discrete actions."""
    if isinstance(watched.pair, EnvPair):
        return 0
    return int(watched.pair.action_space.start)  # type: ignore[attr-defined]  # Discrete


def _sight(watched: Watched, moment: Moment) -> list[str]:
    sight = moment.sight
    if isinstance(sight, TabularSight):
        return _tabular(watched, moment, sight)
    done = "" if moment.step == 0 else f"action: {action_name(watched, moment.last_action)}"
    return [done, *feature_lines(watched, sight)]


def _tabular(watched: Watched, moment: Moment, sight: TabularSight) -> list[str]:
    """Drawings of both views and the belief, and what they say in words."""
    pair = watched.pair
    assert isinstance(pair, EnvPair)  # its sights are of this kind
    full = render.Scene(pair, sight.state, sight.observation, moment.last_action)
    drawn = {
        "full view": render.body(full),
        "restricted view": render.body(full._replace(state=None)),
        "belief": "" if sight.belief is None else render_beliefs.text(pair, sight.belief),
    }
    blocks = {title: text.rstrip("\n") for title, text in drawn.items() if text.strip()}
    words = "the episode is over"
    if sight.belief is not None:
        named = render_beliefs.likeliest(pair, sight.belief, LIKELIEST)
        words = ", ".join(f"{name} {chance:.2f}" for name, chance in named)
        left = 1.0 - sum(chance for _, chance in named)
        words += f", others {left:.2f}" if left >= 0.005 else ""
    return [*_side_by_side(blocks), render.caption(full), f"believed: {words}"]


def _side_by_side(blocks: dict[str, str]) -> list[str]:
    """Titled blocks of text in one row, or below each other where they are wide."""
    columns = [[title, *text.split("\n")] for title, text in blocks.items()]
    widths = [max(map(len, lines)) for lines in columns]
    if sum(widths) + 4 * len(widths) > WIDEST:
        return ["", *(line for lines in columns for line in [*lines, ""])][:-1]
    height = max(map(len, columns), default=0)
    rows = [
        "    ".join(
            (lines[i] if i < len(lines) else "").ljust(width)
            for lines, width in zip(columns, widths, strict=True)
        ).rstrip()
        for i in range(height)
    ]
    return ["", *rows, ""]


def feature_lines(watched: Watched, sight: FeatureSight) -> list[str]:
    """What the restricted view shows of a Gymnasium environment."""
    if sight.view is None:
        return ["there is no restricted view"]
    shown = ", ".join(f"{name} {value:.3f}" for name, value in features(watched, sight))
    more = len(sight.view) - MOST_FEATURES
    return [f"restricted view: {shown}" + (f", and {more:,} more" if more > 0 else "")]


def features(watched: Watched, sight: FeatureSight) -> list[tuple[str, float]]:
    """Names and values of the first features that the restricted view shows."""
    seen: Any = getattr(watched.pair, "features", None)
    values = [] if sight.view is None else sight.view[:MOST_FEATURES].tolist()
    indices = seen.observe if seen is not None and isinstance(seen.observe, list) else None
    names = range(len(values)) if indices is None else indices
    return [(f"feature {name}", value) for name, value in zip(names, values, strict=False)]


def columns_of(watched: Watched, moment: Moment) -> list[tuple[str, FloatArray]]:
    """Who would do what: names and answers, who acts first."""
    answers = [(watched.agent_name, moment.agent)]
    answers.append((f"restricted ({watched.restricted_name})", moment.restricted))
    return [(name, answer) for name, answer in answers if answer is not None]


def shown_actions(answers: Sequence[FloatArray], chosen: int, most: int) -> list[int]:
    """The actions that a table has room for: the chosen one and the likeliest, in their own order."""
    weight = np.max(answers, axis=0)
    weight[chosen] = 2.0
    return sorted(np.argsort(-weight, kind="stable")[:most].tolist())


def _actions(watched: Watched, moment: Moment) -> list[str]:
    """A table of what each would do; ► marks what is done."""
    columns = columns_of(watched, moment)
    if not columns:
        return []
    names = watched.action_names()
    if not names:
        done = f"► action: {action_name(watched, moment.action)}"
        return [done, *(f"  {name}: {_spread(answer)}" for name, answer in columns)]
    chosen = int(moment.action) - first_action(watched)
    shown = shown_actions([answer for _, answer in columns], chosen, MOST_ACTIONS)
    wide = max(len("next action"), *(len(names[a]) for a in shown))
    room = max(_BAR + 6, *(len(name) for name, _ in columns))
    lines = [f"  {'next action':<{wide}}" + "".join(f"  {name:<{room}}" for name, _ in columns)]
    for a in shown:
        mark = "►" if a == chosen else " "
        cells = (f"  {f'{answer[a]:.2f} {bar(float(answer[a]))}':<{room}}" for _, answer in columns)
        lines.append(f"{mark} {names[a]:<{wide}}{''.join(cells)}")
    if len(shown) < len(names):
        lines.append(f"  and {len(names) - len(shown)} that are less likely")
    return [line.rstrip() for line in lines]


def bar(share: float) -> str:
    """A bar of blocks."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _spread(answer: FloatArray) -> str:
    """Mean ± standard deviation of each entry of a continuous action."""
    return "  ".join(f"{mean:.3f} ± {std:.3f}" for mean, std in answer.T)
