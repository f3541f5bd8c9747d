"""Environment steps to 90 % of the optimum with PPO, with and without IMM, on tabular problems.

    python scripts/sb3_gain_table.py --seeds 0-19 --out docs/gain-ppo.md

stable-baselines3's PPO with the default settings of `agents/defaults.py` and the default λ; the two arms
share seeds. After every rollout the expected undiscounted return of an episode of the sampled policy is
computed exactly (backward induction), so that no evaluation noise enters. "90 %" is optimum less a tenth
of its size. A seed that never gets there counts as its whole training and is marked ≥. Intervals: 95 %,
percentile bootstrap over seeds, of medians and of means.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from gain import Curves, compared, headings
from gain_table import threshold
from stable_baselines3.common.callbacks import BaseCallback

import imm_rl
from imm_rl.agents.defaults import training_defaults
from imm_rl.agents.evaluation import exact_returns, oracle_return
from imm_rl.agents.sb3_policies import log_probs
from imm_rl.agents.sb3_settings import PPOSettings
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.files import write_text

PROBLEMS = "grid,tiger,cheese,hallway"


class ExactCurve(BaseCallback):
    """Notes the exact return of the policy before each rollout."""

    def __init__(self, pair: imm_rl.EnvPair) -> None:
        super().__init__()
        self.pair, self.steps, self.returns = pair, [], []

    def note(self) -> None:
        """Adds a point."""
        with torch.no_grad():
            found = log_probs(self.model.policy, np.arange(self.pair.model.n_states))
        probs = found.double().softmax(-1).numpy()
        self.steps.append(self.model.num_timesteps)
        self.returns.append(exact_returns(self.pair.model, probs[None], self.pair.max_steps)[0])

    def _on_rollout_start(self) -> None:
        self.note()

    def _on_step(self) -> bool:
        return True


def curve(
    name: str, weight: str | None, seed: int, changes: dict[str, object]
) -> tuple[list, list]:
    """One training: environment steps and exact returns; without IMM where the weight is "none"."""
    torch.set_num_threads(1)
    pair = imm_rl.make(name)
    told = {**training_defaults("ppo", pair.name), **changes}
    length = told.pop("steps")
    own = told.pop("lambda", None)
    weight = own if weight is None else weight
    settings = PPOSettings(**told)
    plain = weight == "none"
    agent = imm_rl.IMMPPO(
        "MlpPolicy",
        pair,
        restricted=None if plain else "pomdp",
        imm_lambda=None if plain else weight,  # None: the default schedule
        n_envs=settings.n_envs,
        seed=seed,
        device="cpu",
        **settings.sb3_arguments(pair.model.discount),
    )
    noted = ExactCurve(pair)
    agent.learn(length, callback=noted)
    noted.note()
    return noted.steps, noted.returns


def main() -> None:
    """Trains everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=PROBLEMS, help="names or files, with commas")
    parser.add_argument("--seeds", default="0-19")
    parser.add_argument("--lambda", dest="weight", help="default: that of agents/defaults.py")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of PPO"
    )
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--out", metavar="FILE", help="Markdown file; default: the terminal alone")
    args = parser.parse_args()
    seeds = parse_seeds("--seeds", args.seeds)
    changes = {
        name: float(v) if "." in v or "e" in v else int(v)
        for name, v in (s.split("=") for s in args.set)
    }
    lines = headings("PPO")
    print("\n".join(lines))
    ratios, fine = [], True
    with ProcessPoolExecutor(args.jobs) as pool:
        for name in args.problems.split(","):
            text, ratio, no_worse = row(name, args.weight, seeds, changes, pool)
            ratios.append(ratio)
            fine = fine and no_worse
            lines.append(text)
            print(text, flush=True)
    lines += [
        "",
        f"Median gain {np.median(ratios):.1f}; IMM ends "
        f"{'nowhere' if fine else 'somewhere'} worse. Medians over {len(seeds)} seeds with 95 % bootstrap "
        "intervals; in brackets, the seeds that got there.",
    ]
    print(lines[-1])
    if args.out:
        command = f"python scripts/sb3_gain_table.py --seeds {args.seeds}"
        command += f" --problems {args.problems}" if args.problems != PROBLEMS else ""
        command += f" --lambda {args.weight}" if args.weight else ""
        command += " --set " + " ".join(args.set) if args.set else ""
        title = "# PPO: environment steps to 90 % of the optimum\n"
        note = " ".join(__doc__.split("\n\n")[2].split())
        body = f"{title}\nMade by `{command} --out {args.out}`.\n\n{note}\n\n" + "\n".join(lines)
        write_text(Path(args.out), body + "\n")


def row(name, weight, seeds, changes, pool) -> tuple[str, float, bool]:
    """The table's row, the ratio of median steps, and whether IMM ends no worse."""
    pair = imm_rl.make(name)
    imm_rl.agents.solve(pair.restricted_model)  # once, before all trainings ask for it
    jobs = {
        arm: [pool.submit(curve, name, w, seed, changes) for seed in seeds]
        for arm, w in (("plain", "none"), ("helped", weight))
    }
    arms = {}
    for arm, futures in jobs.items():
        found = [f.result() for f in futures]
        arms[arm] = Curves(
            np.array(found[0][0]), np.array([returns for _, returns in found]).T
        ).arm(threshold(pair))
    optimum = oracle_return(pair.model, pair.max_steps)
    return compared(Path(name).stem, optimum, arms["plain"], arms["helped"])


if __name__ == "__main__":
    main()
