"""Seconds to write and to read a `.POMDP` file of 865 kB, the size of the largest in the archive.

    python scripts/bench_files.py [--kilobytes 865] [--rounds 5] [--file FILE.POMDP ...]

Models of three shapes are grown until their file has that size: "entries", a large sparse model with a
line for each number; "rows", a small one of whole rows of long numbers; "outcomes", one whose rewards
depend on the state arrived in and on the observation. Files given by name are read and written too.
The best of so many rounds is printed, in seconds of processor time. Wanted: a read and a write
together in less than 1.5 s.
"""

from __future__ import annotations

import argparse
import bisect
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import cassandra
from imm_rl.envs.model import TabularPOMDP

SHAPES: dict[str, Callable[[int], TabularPOMDP]] = {}


def shape(factory: Callable[[int], TabularPOMDP]) -> Callable[[int], TabularPOMDP]:
    SHAPES[factory.__name__] = factory
    return factory


@shape
def entries(n_states: int) -> TabularPOMDP:
    """Four actions, each with three outcomes; half of the 28 observations possible in each state."""
    rng = np.random.default_rng(0)
    chance = np.tile([0.8, 0.1, 0.1], n_states)
    rows = np.repeat(np.arange(n_states), 3)
    transition = []
    for step in (1, 7, 31, 127):
        columns = (rows + np.tile([0, step, 2 * step], n_states)) % n_states
        transition.append(sp.csr_array((chance, (rows, columns)), shape=(n_states, n_states)))
    seen = np.zeros((n_states, 28))
    seen[np.arange(n_states)[:, None], rng.integers(0, 28, (n_states, 5))] = 1.0
    observation = [sp.csr_array(seen / seen.sum(axis=1, keepdims=True))] * 4
    reward = np.where(rng.random((n_states, 4)) < 0.1, rng.normal(size=(n_states, 4)), 0.0)
    start = np.full(n_states, 1.0 / n_states)
    names = [f"place-{i}" for i in range(n_states)]
    return TabularPOMDP(transition, observation, reward, start, 0.95, state_names=names)


@shape
def rows(n_states: int) -> TabularPOMDP:
    """Two actions that may lead anywhere."""
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(n_states), size=(n_states, 2))
    observation = rng.dirichlet(np.ones(8), size=(2, n_states))
    reward = rng.normal(size=(n_states, 2))
    return TabularPOMDP(transition, observation, reward, rng.dirichlet(np.ones(n_states)), 0.95)


@shape
def outcomes(n_states: int) -> TabularPOMDP:
    """Two actions that may lead anywhere, and a reward for each state, next state and observation."""
    rng = np.random.default_rng(0)
    transition = np.full((n_states, 2, n_states), 1.0 / n_states)
    observation = rng.dirichlet(np.ones(6), size=(2, n_states))
    reward = rng.integers(-9, 10, (n_states, 2, n_states, 6)).astype(np.float64)
    return TabularPOMDP(transition, observation, reward, np.eye(n_states)[0], 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kilobytes", type=int, default=865)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", nargs="*", default=[], metavar="FILE", help="also these")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.POMDP"
        models = {name: grown(make, 1000 * args.kilobytes, path) for name, make in SHAPES.items()}
        models |= {Path(file).stem: cassandra.read(file) for file in args.file}
        print("file              kB       S   write     read   together (s)")
        for name, model in models.items():
            writing = best(lambda model=model: cassandra.write(model, path), args.rounds)
            reading = best(lambda: cassandra.read(path), args.rounds)
            size = path.stat().st_size / 1000
            print(
                f"{name:15s} {size:5.0f}  {model.n_states:6d}   {writing:.3f}    {reading:.3f}"
                f"      {writing + reading:.3f}"
            )


def grown(make: Callable[[int], TabularPOMDP], size: int, path: Path) -> TabularPOMDP:
    """The smallest of these models whose file has the size."""

    def large_enough(n_states: int) -> bool:
        cassandra.write(make(n_states), path)
        return path.stat().st_size >= size

    low, high = 1, 16
    while not large_enough(high):
        low, high = high, 2 * high
    found = bisect.bisect_left(range(low, high), True, key=large_enough)
    return make(low + found)


def best(act: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
