"""Steps a second of the NumPy vector environment against Gymnasium's SyncVectorEnv, same problem.

    python scripts/bench_vector.py [--env tiger] [--copies 1024] [--rounds 7]

Three ways to step the same copies of the same view with the same actions, in interleaved rounds:
`gymnasium.make_vec(..., "vector_entry_point")`, i.e. `pair.vector(n)`; `make_vec(..., "sync")` as users
get it, with Gymnasium's checking wrappers; and SyncVectorEnv over bare `pair.mdp()`. The medians and
their ratios are printed. Wanted: at least 50 times either SyncVectorEnv, for tiger at 1,024 copies.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from imm_rl.envs import gym_ids, make


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="tiger", help="registered name")
    parser.add_argument("--copies", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    env_id, pair = gym_ids.env_id(args.env, "mdp"), make(args.env)
    contenders: dict[str, tuple[Any, int]] = {  # steps a round: about equal times
        "NumPy vector environment": (
            gymnasium.make_vec(env_id, args.copies, vectorization_mode="vector_entry_point"),
            2_000,
        ),
        "SyncVectorEnv, make_vec": (
            gymnasium.make_vec(
                env_id, args.copies, vectorization_mode="sync", vector_kwargs=same_step
            ),
            10,
        ),
        "SyncVectorEnv, bare": (SyncVectorEnv([pair.mdp] * args.copies, **same_step), 10),
    }
    actions = np.random.default_rng(0).integers(0, pair.model.n_actions, (64, args.copies))
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for vector, steps in contenders.values():
        _rate(vector, actions, max(steps // 10, 1))  # warm up
    for _ in range(args.rounds):
        for name, (vector, steps) in contenders.items():
            rates[name].append(_rate(vector, actions, steps))

    medians = {name: statistics.median(values) for name, values in rates.items()}
    fastest = medians["NumPy vector environment"]
    print(f"{args.env}, {args.copies} copies, medians of {args.rounds} interleaved rounds")
    for name, median in medians.items():
        ratio = f"{fastest / median:7.0f} x" if median != fastest else ""
        print(f"  {name:26s} {median:14,.0f} steps/s {ratio}")


def _rate(vector: Any, actions: np.ndarray, steps: int) -> float:
    """Environment steps a second, summed over copies."""
    vector.reset(seed=0)
    start = time.perf_counter()
    for step in range(steps):
        vector.step(actions[step % len(actions)])
    return steps * vector.num_envs / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
