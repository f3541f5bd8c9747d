"""The T-maze: a cue at the start of a corridor tells which way to turn at its end.

    ######
    ####.#                      arm-north            length = 3
    #....#      cell 0  1  2    junction
    ####.#                      arm-south
    ######

A robot starts in cell 0 of a corridor; `length` steps east of it is the junction, with an arm to the north
and one to the south. One of them, either with probability 1/2, holds the reward: entering it pays 4,
entering the other one costs 0.1, and either ends the episode. A move into a wall costs 0.1; any other step
is free. γ = 0.98. Moves do not slip.

The full view sees the cell and where the reward is. The restricted view sees "corridor", "junction" and, in
the first two cells, the cue: north or south. (In the first two, for a model tells nothing before the
first action: who walks on at once sees the cue on the second cell, in the same number of steps as in the
source.) With `noise`, the cue is wrong with that probability, drawn once an episode, so that looking again
does not help.

The optimum is known, `optimal_value`: walk to the junction, turn as the cue is best read. Nobody can
be faster, and nothing is learned after the cue.

Source: B. Bakker, "Reinforcement learning with long short-term memory", NIPS 14, 2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import maze, options, render_poses
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.render import Drawing, Scene

ACTIONS = ("north", "south", "east", "west")
"""In the order of `maze.OFFSETS`."""
OBSERVATIONS = ("cue-north", "cue-south", "corridor", "junction", "arm")
SIDES = ("north", "south")
RIGHT_ARM, WRONG_ARM, BUMP = 4.0, -0.1, -0.1
DISCOUNT = 0.98
DENSE_UP_TO = 1_000
"""States up to which the model is dense."""


class Secret(NamedTuple):
    """What is drawn at the start of an episode: the sides, 0 north or 1 south, and how likely that is."""

    goal: int
    cue: int
    chance: float


def tmaze(*, length: int = 10, noise: float = 0.0, max_steps: int | None = None) -> EnvPair:
    """Builds the pair.

    Args:
        length: Steps from the start to the junction.
        noise: Probability that the cue shows the wrong side.
        max_steps: Steps after which an episode is cut; by default 5 · length. An arm is reached after
            length + 1 at the earliest.
    """
    length = options.whole("length", length, at_least=2)
    noise = options.probability("noise", noise)
    plan = maze.parse(_map(length))
    secrets = _secrets(noise)
    return EnvPair(
        "tmaze",
        _model(plan, secrets),
        max_steps=5 * length if max_steps is None else max_steps,
        source="Bakker, NIPS 14, 2002",
        draw=_drawing(plan, secrets),
    )


def optimal_value(length: int, noise: float = 0.0) -> float:
    """The value of the start to the best restricted policy: γ^length · (4 q − 0.1 (1 − q)).

    q = max(noise, 1 − noise) is the probability that the arm to turn to is the right one. Who sees where
    the reward is has q = 1.
    """
    right = max(noise, 1.0 - noise)
    return float(DISCOUNT**length * (RIGHT_ARM * right + WRONG_ARM * (1.0 - right)))


def _map(length: int) -> str:
    wall, arm = "#" * (length + 3), "#" * (length + 1) + ".#"
    return "\n".join([wall, arm, f"#{'.' * (length + 1)}#", arm, wall])


def _secrets(noise: float) -> list[Secret]:
    """Those that can be; without noise, two."""
    each = [
        Secret(goal, cue, 0.5 * (1.0 - noise if goal == cue else noise))
        for goal in range(2)
        for cue in range(2)
    ]
    return [secret for secret in each if secret.chance > 0.0]


def _model(plan: maze.Maze, secrets: list[Secret]) -> TabularPOMDP:
    """States are (secret, cell); cells in reading order: north arm, corridor, junction, south arm."""
    n_cells = len(plan.cells)
    arms = np.array([0, n_cells - 1])  # by side
    in_arm = np.isin(np.arange(n_cells), arms)
    after = np.where(in_arm[:, None], np.arange(n_cells)[:, None], plan.after)  # arms are ends
    stopped = (after == np.arange(n_cells)[:, None]) & ~in_arm[:, None]

    rewards = []
    for secret in secrets:
        paid = np.where(stopped, BUMP, 0.0)
        for side, arm in enumerate(arms):
            entered = (after == arm) & ~in_arm[:, None]
            paid[entered] = RIGHT_ARM if side == secret.goal else WRONG_ARM
        rewards.append(paid)
    first = np.arange(n_cells) == 1
    n_states = n_cells * len(secrets)
    blocks = n_cells * np.arange(len(secrets))
    transition = [_matrix((blocks[:, None] + after[:, a]).ravel(), n_states) for a in range(4)]
    seen = np.concatenate([_seen(n_cells, secret) for secret in secrets])
    observation = [_matrix(seen, len(OBSERVATIONS))] * len(ACTIONS)
    dense = n_states <= DENSE_UP_TO
    return TabularPOMDP(
        transition=np.stack([t.toarray() for t in transition], axis=1) if dense else transition,
        observation=np.stack([o.toarray() for o in observation]) if dense else observation,
        reward=np.concatenate(rewards),
        initial=np.concatenate([secret.chance * first for secret in secrets]),
        discount=DISCOUNT,
        terminal=np.tile(in_arm, len(secrets)),
        state_names=[name for secret in secrets for name in _names(n_cells, secret, len(secrets))],
        action_names=ACTIONS,
        observation_names=OBSERVATIONS,
    )


def _matrix(columns: np.ndarray, n_columns: int) -> sp.csr_array:
    """One 1 a row, in the column given."""
    rows = np.arange(columns.size)
    return sp.csr_array((np.ones(columns.size), (rows, columns)), shape=(columns.size, n_columns))


def _seen(n_cells: int, secret: Secret) -> np.ndarray:
    """The observation of each cell."""
    seen = np.full(n_cells, OBSERVATIONS.index("corridor"))
    seen[1:3] = secret.cue
    seen[n_cells - 2] = OBSERVATIONS.index("junction")
    seen[[0, n_cells - 1]] = OBSERVATIONS.index("arm")
    return seen


def _names(n_cells: int, secret: Secret, n_secrets: int) -> list[str]:
    corridor = [f"cell-{i}" for i in range(n_cells - 3)]
    cells = ["arm-north", *corridor, "junction", "arm-south"]
    told = f"-cue-{SIDES[secret.cue]}" if n_secrets > 2 else ""
    return [f"goal-{SIDES[secret.goal]}{told}-{cell}" for cell in cells]


@dataclass(frozen=True)
class _Faces:
    """The maze looks different by what may be known of the secret: one board each.

    Attributes:
        boards: By goal and cue; −1 where not known.
        known: (goal, cue) of each state.
    """

    boards: dict[tuple[int, int], render_poses.PoseBoard]
    known: list[tuple[int, int]]

    def text(self, scene: Scene) -> str:
        return self._drawing(scene).text(scene)

    def picture(self, scene: Scene, sheet: Canvas) -> None:
        self._drawing(scene).picture(scene, sheet)

    def _drawing(self, scene: Scene) -> Drawing:
        if scene.state is not None:
            return render_poses.drawing(self.boards[self.known[scene.state]])
        seen = scene.observation
        shown = -1 if seen is None or seen >= len(SIDES) else seen
        return render_poses.drawing(self.boards[-1, shown])


def _drawing(plan: maze.Maze, secrets: list[Secret]) -> Drawing:
    n_cells, n_states = len(plan.cells), len(plan.cells) * len(secrets)
    places = np.arange(n_states) % n_cells
    boards = {}
    for goal in (-1, 0, 1):
        for cue in (-1, 0, 1):
            arms = {-1: "  ", 0: "+-", 1: "-+"}[goal]
            marks = f"{arms[0]}{' ^v'[cue + 1]}{' ' * (n_cells - 3)}{arms[1]}"
            worth = np.array([{"+": 1.0, "-": -0.5}.get(mark, 0.0) for mark in marks])
            headings = np.full(n_states, render_poses.NO_HEADING)
            boards[goal, cue] = render_poses.PoseBoard(
                plan.cells, plan.shape, marks, worth, places, headings
            )
    faces = _Faces(boards, [(s.goal, s.cue) for s in secrets for _ in range(n_cells)])
    return Drawing(faces.text, faces.picture, boards[-1, -1])
