"""`imm-rl evaluate` of agents that Stable-Baselines3 trained: runs of ppo and a2c, and any such zip."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.errors import InvalidInputError

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair, View


def is_sb3(path: Path) -> bool:
    """Whether a file is a zip as Stable-Baselines3 leaves it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "policy.pth" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def evaluated(
    path: str, files: list[Path], env: str | None, episodes: int, seed: int
) -> dict[str, Any]:
    """Plays the policies of a run's seeds, or the one of a zip.

    Args:
        path: As the user named it.
        files: The zips; they are unpickled, as Stable-Baselines3 does.
        env: Where to play; None: where the run was trained.
        episodes: Of each policy.
        seed: Of the episodes.

    Raises:
        InvalidInputError: No environment is known, or a policy is for other spaces.
    """
    from imm_rl.agents.restricted.sb3_zip import read_policy
    from imm_rl.cli.environments import checked_pair
    from imm_rl.cli.evaluate import result_of, run_config, unknown_env
    from imm_rl.cli.sb3_model import evaluation_env, played_episodes

    config = run_config(Path(path))
    spec = env or config.get("env")
    if not isinstance(spec, str):
        raise unknown_env(path)
    pair = checked_pair(spec)
    policies = [read_policy(file, "cpu") for file in files]
    view = trained_view(path, policies[0], pair, config.get("view"))
    vector = evaluation_env(pair, view, episodes)
    try:
        sampled, best = (
            np.stack(
                [
                    played_episodes(
                        policy, vector, episodes=episodes, seed=seed, deterministic=greedy
                    ).returns
                    for policy in policies
                ]
            )
            for greedy in (False, True)
        )
    finally:
        vector.close()
    result = result_of(path, pair, sampled, best, pair.max_steps, seed)
    seeds = config.get("seeds")
    return {**result, "view": "full" if view == "mdp" else "restricted"} | {
        "trained_seeds": seeds if isinstance(seeds, list) and len(seeds) == len(files) else None
    }


def trained_view(path: str, policy: Any, pair: EnvPair | FeaturePair, named: Any) -> View:
    """The view that the policy was trained on: as its run says, else the one whose space it has."""
    if named == "restricted":
        views: tuple[View, ...] = ("pomdp",)
    else:
        views = ("mdp",) if named == "full" else ("mdp", "pomdp")
    spaces = {view: _space(pair, view) for view in views}
    fitting = [view for view in views if _fits(policy.observation_space, spaces[view])]
    if not fitting:
        shown = " or ".join(str(space) for space in spaces.values() if space is not None)
        shown = shown or "no restricted view, as it is given without observe"
        raise InvalidInputError(
            f"the policy of {path} observes {policy.observation_space}; {pair.name} shows {shown}."
        )
    env = pair.mdp()
    actions = env.action_space
    env.close()
    if policy.action_space != actions:
        raise InvalidInputError(
            f"the policy of {path} acts in {policy.action_space}; {pair.name} has {actions}."
        )
    return fitting[0]


def _space(pair: EnvPair | FeaturePair, view: View) -> Any:
    """The observation space of a view; None where there is no such view."""
    if view == "pomdp" and getattr(pair, "features", pair) is None:
        return None
    env = pair.mdp() if view == "mdp" else pair.pomdp()
    env.close()
    return env.observation_space


def _fits(trained: Any, space: Any) -> bool:
    """Whether a policy for one space acts in the other; SB3 puts the channels of images first."""
    if trained == space:
        return True
    shape, other = getattr(trained, "shape", None), getattr(space, "shape", None)
    return shape is not None and len(shape) == 3 and (*shape[1:], shape[0]) == other
