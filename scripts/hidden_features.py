"""Learning curves of PPO with and without IMM where the restricted policy sees only some features.

    python scripts/hidden_features.py --out docs/gallery
    python scripts/hidden_features.py --envs CartPole-v1 --seeds 0-4 --arms none imm "imm k=8 bandwidth=0.5"

Restricted policies are rules of one line each (`PROBLEMS`). MountainCar-v0 is trained with the
hyper-parameters of stable-baselines3's PPO as they come, the others with those of `agents/defaults.py`.
An arm is "none", or "imm" and arguments of `IMMCallback`: k and bandwidth of `Nearest`, batch_size,
refresh, imm_lambda. Arms share seeds and the episodes by which they are judged: as many as
--episodes, at the end 100, with actions drawn from the policy (mean_return) and, at the end, also by the
likeliest ones (deterministic_return). A training takes no more steps than it is given: whole rollouts.

Each finished training is appended to hidden-features.csv and not done again, so that a stopped script goes
on where it was; the picture and the table are made of the whole file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from hidden_features_report import append, arms_of, draw, read, table, with_ends
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy

import imm_rl
from imm_rl import schedules
from imm_rl.agents.defaults import training_defaults
from imm_rl.agents.neighbours import Nearest
from imm_rl.agents.restricted.playing import view_policy_returns
from imm_rl.agents.restricted.view_policy import as_view_policy
from imm_rl.agents.sb3_settings import PPOSettings
from imm_rl.agents.streams import generator
from imm_rl.cli.values import count
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name
from imm_rl.files import write_text

POINTS = 15
"""Evaluations of a training, spread evenly."""

LAST_EPISODES = 100
NAME = "hidden-features"


class Problem(NamedTuple):
    """An environment, and a rule that acts on a part of what is seen."""

    observe: list[int]
    sees: str
    rule: Callable[[np.ndarray], np.ndarray]
    solved: float
    steps: int
    stock: bool = False


def with_the_velocity(views: np.ndarray) -> np.ndarray:
    """Push the way you move."""
    return np.where(views[:, 0] >= 0.0, 2, 0)


def under_the_pole(views: np.ndarray) -> np.ndarray:
    """Push the way the pole falls."""
    return (views[:, 0] + 0.5 * views[:, 1] > 0.0).astype(int)


def to_the_energy(views: np.ndarray) -> np.ndarray:
    """Bring the energy v²/6 + 5 cos θ to the 5 of standing upright."""
    cosine, velocity = views.T
    missing = 5.0 - (velocity**2 / 6.0 + 5.0 * cosine)
    return np.clip(velocity * missing, -2.0, 2.0)[:, None]


PROBLEMS = {
    "MountainCar-v0": Problem([1], "velocity", with_the_velocity, -130.0, 100_000, stock=True),
    "CartPole-v1": Problem([2, 3], "angle, angular velocity", under_the_pole, 475.0, 30_000),
    "Acrobot-v1": Problem([5], "second joint's velocity", with_the_velocity, -100.0, 60_000),
    "Pendulum-v1": Problem([0, 2], "cos θ, velocity", to_the_energy, -200.0, 60_000),
}
"""`solved`: the mean return from which on an environment counts as solved."""

IMM_ARGUMENTS: dict[str, Callable[[str], Any]] = {
    "k": int,
    "bandwidth": float,
    "batch_size": int,
    "refresh": int,
    "imm_lambda": str,
}


def parse_arm(text: str) -> dict[str, Any] | None:
    """The arguments of `IMMCallback` that an arm means; None for "none", plain PPO.

    Raises:
        InvalidInputError: It is no arm.
    """
    kind, *words = text.split() or [""]
    if kind not in ("none", "imm") or (kind == "none" and words):
        raise InvalidInputError(
            f"an arm must be 'none' or 'imm NAME=VALUE ...'; received {text!r}."
        )
    if kind == "none":
        return None
    given: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in IMM_ARGUMENTS:
            raise unknown_name("argument", name, IMM_ARGUMENTS, f"in arm {text!r}")
        try:
            given[name] = IMM_ARGUMENTS[name](value)
        except ValueError:
            raise InvalidInputError(
                f"{name} in arm {text!r} must be a number; received {value!r}."
            ) from None
    if "imm_lambda" in given:
        schedules.parse(given["imm_lambda"])  # now, not when its first training starts
    nearest = {name: given.pop(name) for name in ("k", "bandwidth") if name in given}
    return {**given, "completions": Nearest(**nearest)} if nearest else given


# --- one training ---


class Curve(BaseCallback):
    """Judges the policy before the first rollout, then at even steps."""

    def __init__(self, name: str, seed: int, length: int, episodes: int) -> None:
        super().__init__()
        self.name, self.seed, self.length, self.episodes = name, seed, length, episodes
        self.points: list[tuple[Any, ...]] = []

    def note(self) -> None:
        """Adds a point: steps, episodes, return by drawn actions and, in the end, by the likeliest."""
        policy, steps = self.model.policy, self.model.num_timesteps
        last = steps >= self.length
        episodes = LAST_EPISODES if last else self.episodes
        # Other episodes at each look and for each seed: ten of them may be easy or hard ones.
        rng = generator(self.seed, "evaluation").spawn(len(self.points) + 1)[-1]
        starts = rng.integers(2**31, size=episodes).tolist()
        drawn = returns(self.name, policy, starts, deterministic=False).mean()
        likeliest = returns(self.name, policy, starts, deterministic=True).mean() if last else ""
        self.points.append((steps, episodes, drawn, likeliest))

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= len(self.points) * self.length / POINTS:
            self.note()

    def _on_step(self) -> bool:
        return True


def returns(name: str, policy: BasePolicy, starts: list[int], *, deterministic: bool) -> np.ndarray:
    """Undiscounted returns of one episode of a policy from each of these seeds of the environment.

    Torch's random numbers are left as they were: training is the same with and without a look.
    """
    envs = [gymnasium.make(name, disable_env_checker=True) for _ in starts]
    seen = np.stack(
        [env.reset(seed=seed)[0] for env, seed in zip(envs, starts, strict=True)],
        dtype=np.float32,
    )
    totals, running = np.zeros(len(envs)), np.arange(len(envs))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(starts[0])
        while running.size:
            actions, _ = policy.predict(seen[running], deterministic=deterministic)
            going = []
            for k, action in zip(running, actions, strict=True):
                seen[k], reward, terminated, truncated, _ = envs[k].step(action)
                totals[k] += float(reward)
                if not (terminated or truncated):
                    going.append(k)
            running = np.array(going, dtype=np.int64)
    for env in envs:
        env.close()
    return totals


def train(name: str, arm: str, seed: int, steps: int, episodes: int) -> list[tuple[Any, ...]]:
    """One training; rows of the CSV."""
    torch.set_num_threads(1)
    problem, started = PROBLEMS[name], time.perf_counter()
    pair = imm_rl.make(name, observe=problem.observe)
    if problem.stock:
        env: Any = gymnasium.make(name)
        arguments: dict[str, Any] = {}
    else:
        told = training_defaults("ppo", name, tabular=False)
        settings = PPOSettings(**{k: v for k, v in told.items() if k not in ("steps", "lambda")})
        env, arguments = pair.sb3_vector(settings.n_envs), settings.sb3_arguments()
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", **arguments)
    rollout = model.n_steps * model.n_envs
    length = max(steps // rollout, 1) * rollout
    curve = Curve(name, seed, length, episodes)
    told_imm = parse_arm(arm)
    matching = [] if told_imm is None else [imm_rl.IMMCallback(pair, problem.rule, **told_imm)]
    model.learn(length, callback=[*matching, curve])
    curve.note()
    seconds = round(time.perf_counter() - started, 1)
    return [(name, arm, seed, steps, *point, seconds) for point in curve.points]


def own_return(name: str) -> str:
    """What the rule earns by itself, which sees no more than it is given."""
    problem = PROBLEMS[name]
    pair = imm_rl.make(name, observe=problem.observe)
    policy = as_view_policy(problem.rule, pair.features.space, pair.action_space)
    earned = view_policy_returns(pair, policy, episodes=LAST_EPISODES, seed=0)
    return with_ends(earned)


def report(rows: list[dict[str, str]], lengths: dict[str, int], command: str) -> str:
    """The Markdown note."""
    seen = ["| environment | the rule | sees | solved from | it earns itself |", "|---" * 5 + "|"]
    found = ["| environment | arm | seeds | solved at the end | steps until solved (median) "]
    found[0] += "| mean of the curve | return at the end | by the likeliest actions | worst seed |"
    found.append("|---" * 9 + "|")
    for name, length in lengths.items():
        problem = PROBLEMS[name]
        rule = (problem.rule.__doc__ or "").rstrip(".")
        seen.append(
            f"| {name} | {rule} | {problem.sees} | {problem.solved:g} | {own_return(name)} |"
        )
        found += table(name, problem.solved, arms_of(rows, name, length))
    return "\n".join([f"Made by `{command}`.", "", *seen, "", *found]) + "\n"


def main() -> None:
    """Trains what is not in the CSV yet, and shows what is."""
    try:
        run(_arguments())
    except ImmRlError as error:
        sys.exit(f"hidden_features: error: {error}")


def run(args: argparse.Namespace) -> None:
    """All trainings that are asked for and not done; then the picture and the note."""
    for name in args.envs:
        if name not in PROBLEMS:
            raise unknown_name("environment", name, PROBLEMS)
    for arm in args.arms:
        parse_arm(arm)
    seeds, episodes = parse_seeds("--seeds", args.seeds), count("--episodes", args.episodes)
    steps = None if args.steps is None else count("--steps", args.steps)
    lengths = {name: steps or PROBLEMS[name].steps for name in args.envs}
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{NAME}.csv"
    done = {(row["env"], row["arm"], row["seed"], row["length"]) for row in read(path)}
    asked = [(name, arm, seed) for name in args.envs for seed in seeds for arm in args.arms]
    jobs = [
        (name, arm, seed, lengths[name], episodes)
        for name, arm, seed in asked
        if (name, arm, str(seed), str(lengths[name])) not in done
    ]
    with ProcessPoolExecutor(count("--jobs", args.jobs)) as pool:
        for number, future in enumerate(as_completed([pool.submit(train, *j) for j in jobs]), 1):
            rows = future.result()
            append(path, rows)
            name, arm, seed, *_, final, likeliest, seconds = rows[-1]
            print(
                f"{number}/{len(jobs)} {name}, {arm}, seed {seed}: {final:.1f}, by the likeliest "
                f"actions {likeliest:.1f} ({seconds:.0f} s)",
                flush=True,
            )
    rows = read(path)
    note = report(rows, lengths, args.command)
    write_text(out / f"{NAME}.md", note)
    arms = {name: arms_of(rows, name, length) for name, length in lengths.items()}
    panels = {
        f"{name}; the rule sees {PROBLEMS[name].sees}": (PROBLEMS[name].solved, found)
        for name, found in arms.items()
        if found
    }
    draw(panels, out / f"{NAME}.png")
    print(note)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--envs", nargs="+", default=list(PROBLEMS), metavar="ID")
    parser.add_argument("--seeds", default="0-4", help="default: %(default)s")
    parser.add_argument("--arms", nargs="+", default=["none", "imm"], metavar="ARM")
    parser.add_argument("--steps", help="of each training; default: by the environment")
    parser.add_argument("--episodes", default=10, help="of an evaluation (default: %(default)s)")
    parser.add_argument("--jobs", default=1, help="trainings side by side (default: %(default)s)")
    parser.add_argument("--out", default=NAME, metavar="DIR", help="default: %(default)s")
    args = parser.parse_args()
    words = (f'"{word}"' if " " in word else word for word in sys.argv[1:])
    args.command = f"python scripts/hidden_features.py {' '.join(words)}"
    return args


if __name__ == "__main__":
    main()
