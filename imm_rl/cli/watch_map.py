"""`imm-rl watch --map`: where a policy goes, what each state is worth under it, and a belief, on the map.

Index letters: S states, A actions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.agents.watching import Moment, TabularSight
from imm_rl.cli.watch_map_panels import draw_agent, draw_heat, draw_policy, panels
from imm_rl.envs.layout import by_pose, layers, layout
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.render_beliefs import seen_name
from imm_rl.envs.render_poses import PoseBoard
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically

if TYPE_CHECKING:
    from imm_rl.cli.watch_policies import Watched
    from imm_rl.envs.model import FloatArray


def draw(path: Path, watched: Watched, *, seed: int, steps: int, deterministic: bool) -> str:
    """Writes the picture; returns what it shows, in words.

    Args:
        path: Its suffix says which kind.
        watched: An agent that sees the state of a tabular pair whose states have places.
        seed: Of the episode of which a belief is shown.
        steps: After how many.
        deterministic: Whether the likeliest action counts as the policy.

    Raises:
        InvalidInputError: There is no map, the agent does not see the state, or values have no bound.
    """
    pair, board = _checked(watched)
    table = watched.agent
    if deterministic:
        table = np.eye(pair.model.n_actions)[table.argmax(axis=1)]
    values = exact_values(pair, table)
    moment = _moment(watched, seed, steps, deterministic)
    sight = moment.sight
    assert isinstance(sight, TabularSight)  # of a tabular pair
    shown = layers(board) == layers(board)[sight.state]

    figure, axes, bars = panels(board)
    kind = ", most likely actions" if deterministic else ""
    of = "" if shown.all() else f", states like {pair.model.state_names[sight.state]}"
    title = f"{pair.name}: {watched.agent_name}{kind}{of}"
    top = 1.0 - 0.1 / float(figure.get_figheight())
    figure.suptitle(title, y=top, fontsize=12, fontweight="bold")
    axes[0].set_title("action probabilities", fontsize=10)
    draw_policy(axes[0], pair, board, table, shown)
    axes[1].set_title("exact value of the policy", fontsize=10)
    draw_heat(axes[1], bars[1], board, values, shown, "cividis", _value_label(pair))
    counted = "1 step" if moment.step == 1 else f"{moment.step} steps"
    seen = seen_name(pair, sight.observation)
    axes[2].set_title(f"belief after {counted}, seeing {seen}", fontsize=10)
    belief = np.zeros(pair.model.n_states) if sight.belief is None else sight.belief
    chance = by_pose(board, belief)
    draw_heat(axes[2], bars[2], board, chance, shown, "viridis", "probability of being there", 0.0)
    draw_agent(axes[2], board, sight.state)
    suffix = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda file: figure.savefig(file, format=suffix, dpi=120))
    return f"policy, values and the belief after {counted} of seed {seed}"


def exact_values(pair: EnvPair, table: FloatArray) -> FloatArray:
    """Discounted values (S,) of action probabilities (S, A) in the model that the environment draws from.

    Raises:
        InvalidInputError: γ = 1 and some policy never ends.
    """
    from imm_rl.agents.solvers.mdp import policy_values, require_bounded_horizon

    require_bounded_horizon(pair.model)
    return policy_values(pair.model, table)


def _checked(watched: Watched) -> tuple[EnvPair, PoseBoard]:
    pair = watched.pair
    board = layout(pair) if isinstance(pair, EnvPair) else None
    if not isinstance(pair, EnvPair) or board is None:
        raise InvalidInputError(
            f"--map needs states that have places, and those of {pair.name} have none. Watch it without "
            "--map."
        )
    if not isinstance(watched.agent, np.ndarray):
        raise InvalidInputError(
            "--map shows what is done in each state, and this policy does not see the state. Watch it "
            "without --map."
        )
    return pair, board


def _moment(watched: Watched, seed: int, steps: int, deterministic: bool) -> Moment:
    """The moment after so many steps, or the last one before the end."""
    how: dict[str, Any] = {"seed": seed, "episodes": 1, "steps": None, "pictures": False}
    found: Moment | None = None
    for moment in watched.moments(deterministic=deterministic, **how):
        if moment.ended:
            break
        found = moment
        if moment.step == steps:
            break
    assert found is not None  # every episode begins
    return found


def _value_label(pair: EnvPair) -> str:
    discount = pair.model.discount
    return f"discounted reward to come (γ = {discount:g})" if discount < 1.0 else "reward to come"
