"""Time that `IMMCallback` adds to stable-baselines3's PPO and A2C.

    python scripts/bench_sb3.py [--cases grid-stock,cartpole] [--rounds 7] [--out FILE]

Both arms train a 64x64 network on the same environment, 8 copies, with the same settings; one of them has
`IMMCallback` with its default batch and refresh, and λ held at 1: with a schedule that ends at 0 the
later rollouts would cost nothing. After a rollout to warm up, each round times some rollouts of each arm,
inside `learn`, in processor time of this process, and the arm that goes first alternates. Torch has one
thread. The ratio is the median over rounds of a round's two times; in brackets its quartiles.

Wanted: at most 1.15 x for PPO on the grid and on CartPole, 1.3 x where there are a thousand states.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3 import A2C, PPO

import imm_rl
from imm_rl.agents.defaults import training_defaults
from imm_rl.agents.sb3_settings import SETTINGS
from imm_rl.errors import unknown_name
from imm_rl.files import write_text

COPIES = 8
ALGORITHMS = {"ppo": PPO, "a2c": A2C}


class Case(NamedTuple):
    """What is timed: `rollouts` a round of an algorithm on a problem."""

    agent: str
    env: str
    restricted: Any
    rollouts: int
    settings: str = "stock"
    wanted: float | None = None


def upright(views: np.ndarray) -> np.ndarray:
    """Pushes (N,) towards the side that the pole falls to; views (N, 2): angle and its velocity."""
    return (views[:, 0] + 0.5 * views[:, 1] > 0.0).astype(np.int64)


CARTPOLE = "CartPole-v1(observe=[2, 3])"
CASES = {
    "grid-stock": Case("ppo", "grid", "pomdp", 1, wanted=1.15),
    "grid-defaults": Case("ppo", "grid", "pomdp", 10, "defaults", 1.15),
    "cartpole-stock": Case("ppo", CARTPOLE, upright, 1, wanted=1.15),
    "cartpole-defaults": Case("ppo", CARTPOLE, upright, 10, "defaults", 1.15),
    "grid32-stock": Case("ppo", "grid(size=32)", "qmdp", 1, wanted=1.3),
    "grid32-defaults": Case("ppo", "grid(size=32)", "qmdp", 10, "defaults", 1.3),
    "tag-stock": Case("ppo", "tag", "qmdp", 1, wanted=1.3),
    "tag-defaults": Case("ppo", "tag", "qmdp", 10, "defaults", 1.3),
    "rocksample-stock": Case("ppo", "rocksample(5,5)", "qmdp", 1, wanted=1.3),
    "rocksample-defaults": Case("ppo", "rocksample(5,5)", "qmdp", 10, "defaults", 1.3),
    "a2c-grid-stock": Case("a2c", "grid", "pomdp", 60),
    "a2c-grid-defaults": Case("a2c", "grid", "pomdp", 60, "defaults"),
    "a2c-cartpole-stock": Case("a2c", CARTPOLE, upright, 60),
}
"""By name. "stock" settings are the algorithm's own, "defaults" those of `agents/defaults.py`."""


def trainer(case: Case, *, matched: bool) -> Callable[[], float]:
    """A training that has had its first rollout; each call trains on and gives the seconds it took."""
    pair = imm_rl.make(case.env)
    told: dict[str, Any] = {}
    if case.settings == "defaults":
        tabular = isinstance(pair, imm_rl.EnvPair)
        told = training_defaults(case.agent, pair.name, tabular=tabular)
    told = {k: v for k, v in told.items() if k not in ("steps", "lambda")} | {"n_envs": COPIES}
    discount = pair.model.discount if isinstance(pair, imm_rl.EnvPair) else None
    arguments = SETTINGS[case.agent](**told).sb3_arguments(discount)
    model = ALGORITHMS[case.agent](
        "MlpPolicy", pair.sb3_vector(COPIES), seed=0, device="cpu", **arguments
    )
    rollout = model.n_steps * COPIES
    callback = imm_rl.IMMCallback(pair, case.restricted, "1") if matched else None

    def train(rollouts: int) -> float:
        start = time.process_time()
        model.learn(rollouts * rollout, callback, reset_num_timesteps=False)
        return time.process_time() - start

    train(1)
    return lambda: train(case.rollouts)


def times(case: Case, rounds: int) -> np.ndarray:
    """Seconds (rounds, 2): of the algorithm alone, and with matching."""
    arms = [trainer(case, matched=False), trainer(case, matched=True)]
    found = np.zeros((rounds, 2))
    for i in range(rounds):
        for arm in (0, 1) if i % 2 == 0 else (1, 0):
            found[i, arm] = arms[arm]()
    return found


def row(name: str, rounds: int) -> str:
    """A case's row of the table."""
    case = CASES[name]
    seconds = times(case, rounds)
    alone, matched = np.median(seconds, axis=0) / case.rollouts * 1e3
    low, ratio, high = np.quantile(seconds[:, 1] / seconds[:, 0], [0.25, 0.5, 0.75])
    wanted = "" if case.wanted is None else f"≤ {case.wanted}"
    return (
        f"| {name} | {case.agent.upper()}, {case.env} | {alone:,.1f} | {matched:,.1f} "
        f"| {ratio:.3f} [{low:.3f}, {high:.3f}] | {wanted} |"
    )


def main() -> None:
    """Times the cases and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", default=",".join(CASES), help="names, with commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", metavar="FILE", help="Markdown file; default: the terminal alone")
    args = parser.parse_args()
    names = args.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(str(unknown_name("case", name, CASES)))
    if args.rounds < 1:
        parser.error(f"argument --rounds: must be at least 1; received {args.rounds}.")
    torch.set_num_threads(1)
    lines = [
        "| case | training | ms a rollout, alone | with IMM | ratio [quartiles] | wanted |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name in names:
        lines.append(row(name, args.rounds))
        print(lines[-1], flush=True)
    if args.out:
        chosen = f"--cases {args.cases} " if args.cases != ",".join(CASES) else ""
        command = f"python scripts/bench_sb3.py {chosen}--rounds {args.rounds} --out {args.out}"
        note = " ".join((__doc__ or "").split("\n\n")[2].split())
        title = "# Time that matching adds to PPO and A2C"
        body = f"{title}\n\nMade by `{command}`.\n\n{note}\n\n" + "\n".join(lines) + "\n"
        write_text(Path(args.out), body)


if __name__ == "__main__":
    main()
