"""Belief updates a second: batched against one belief at a time, and sparse against dense.

    python scripts/bench_belief.py [--beliefs 4096] [--rounds 15] [--sparse-env "rocksample(7,8)"]

First table, hallway: `belief.update` of all beliefs at once against two loops over them in plain NumPy.
The first loop is the formula and nothing else. The second checks what `belief.update` checks: that each
belief is a distribution, that action and observation are in range, and that what was observed is
possible. Second table: a filter step of `BeliefFilter` on a model of many states, beliefs kept as CSR
rows or dense. Rounds are interleaved, and in each the quicker ones are repeated until all take about
the same time; medians and their ratios are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from imm_rl.envs import belief, make
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray

STEPS = 6
"""Steps from the start belief, by random actions, to the beliefs that are updated."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--beliefs", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sparse-env", default="rocksample(7,8)")
    args = parser.parse_args()
    hallway(args.beliefs, args.rounds)
    sparse_and_dense(make(args.sparse_env), [1, 16, 256], args.rounds)


def hallway(n: int, rounds: int) -> None:
    model = make("hallway").model
    transition, observation = np.asarray(model.transition), np.asarray(model.observation)
    beliefs, actions, observations = beliefs_met(make("hallway"), n)
    dense = beliefs if isinstance(beliefs, np.ndarray) else beliefs.toarray()

    def bare_loop() -> FloatArray:
        updated = np.empty_like(dense)
        for i in range(n):
            joint = (dense[i] @ transition[:, actions[i], :]) * observation[
                actions[i], :, observations[i]
            ]
            updated[i] = joint / joint.sum()
        return updated

    def checking_loop() -> FloatArray:
        updated = np.empty_like(dense)
        for i in range(n):
            b, a, o = dense[i], actions[i], observations[i]
            if not (b.min() >= 0.0 and abs(b.sum() - 1.0) <= belief.SUM_TOLERANCE):
                raise ValueError(f"no belief: {b}")
            if not (0 <= a < model.n_actions and 0 <= o < model.n_observations):
                raise ValueError(f"out of range: {a}, {o}")
            joint = (b @ transition[:, a, :]) * observation[a, :, o]
            evidence = joint.sum()
            if not evidence > 0.0:
                raise ValueError(f"impossible: {b}, {a}, {o}")
            updated[i] = joint / evidence
        return updated

    def batched() -> FloatArray:
        return belief.update(dense, actions, observations, model)

    np.testing.assert_allclose(batched(), bare_loop(), atol=1e-12)
    print(f"hallway, {model.n_states} states, {n:,} beliefs, medians of {rounds} rounds")
    report({"belief.update": batched, "loop": bare_loop, "loop that checks": checking_loop}, rounds)


def sparse_and_dense(pair: EnvPair, counts: list[int], rounds: int) -> None:
    belief_filter = BeliefFilter(pair.model)
    for n in counts:
        rows, actions, observations = beliefs_met(pair, n)
        if isinstance(rows, np.ndarray):
            raise SystemExit(f"{pair.spec} is too small: its beliefs are kept dense.")
        dense, csr = rows.toarray(), rows
        step = {
            "CSR rows": lambda b=csr, a=actions, o=observations: belief_filter.update(b, a, o),
            "dense rows": lambda b=dense, a=actions, o=observations: belief_filter.update(b, a, o),
        }
        share = rows.nnz / n
        print(f"{pair.spec}, {pair.model.n_states:,} states, {share:.0f} in a belief, {n} beliefs")
        report(step, rounds)


def beliefs_met(pair: EnvPair, n: int) -> tuple[Beliefs, IntArray, IntArray]:
    """Beliefs of n episodes after some random steps, and the action and observation that follow."""
    rng, belief_filter, sampler = np.random.default_rng(0), BeliefFilter(pair.model), pair.sampler
    states, beliefs = sampler.initial(rng.random(n)), belief_filter.start(n)
    for t in range(STEPS + 1):
        actions, draws = rng.integers(pair.model.n_actions, size=n), rng.random((2, n))
        step = sampler.step(states, actions, *draws)
        while step.terminated.any():  # then by another action
            again = rng.integers(pair.model.n_actions, size=n)
            actions = np.where(step.terminated, again, actions)
            step = sampler.step(states, actions, *draws)
        if t == STEPS:
            break
        beliefs = belief_filter.update(beliefs, actions, step.observations)
        states = step.next_states
    return beliefs, actions, step.observations


def report(contenders: dict[str, Callable[[], object]], rounds: int) -> None:
    """Times every contender in every round; the first is what the others are held against."""
    for function in contenders.values():
        function()  # warm up
    once = {name: _seconds(function, 1) for name, function in contenders.items()}
    repeats = {name: max(round(max(once.values()) / value), 1) for name, value in once.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            seconds[name].append(_seconds(function, repeats[name]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:18s} {1e3 * median:9.3f} ms {median / first:7.1f} x")


def _seconds(function: Callable[[], object], repeats: int) -> float:
    """Of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
