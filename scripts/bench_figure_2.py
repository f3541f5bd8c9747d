"""How much faster one batched program trains Figure 2 than one training after another.

    python scripts/bench_figure_2.py --rounds 7

The sequential side is plain PyTorch as one would write it first: one network, one step of one
environment at a time, the same losses, sizes and optimiser. Rounds alternate between the two sides; the
figure is the ratio of the medians of seconds per training and epoch, with and without IMM.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn

import imm_rl
from imm_rl.agents import paper
from imm_rl.agents.settings import ReinforceSettings


def sequential(pair: imm_rl.EnvPair, target: np.ndarray | None, lam: float, epochs: int) -> float:
    """Seconds per epoch of one training, written out."""
    model, rng = pair.model, np.random.default_rng(0)
    n_states, n_actions = model.n_states, model.n_actions
    next_state = np.stack([model.transition_of(a).argmax(axis=1) for a in range(n_actions)], axis=1)
    net = nn.Sequential(nn.Linear(n_states, 32), nn.Tanh(), nn.Linear(32, n_actions))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    eye = torch.eye(n_states)
    completions = torch.as_tensor(np.stack([b > 0 for b in pair.observation_beliefs]))
    column = pair.observation_beliefs.argmax(axis=0)
    start = time.perf_counter()
    for _ in range(epochs):
        state = int(rng.integers(n_states))
        visited, log_probs, rewards = [], [], []
        for _ in range(50):
            choice = torch.distributions.Categorical(logits=net(eye[state]))
            action = choice.sample()
            visited.append(state)
            log_probs.append(choice.log_prob(action))
            rewards.append(model.reward[state, int(action)])
            state = int(next_state[state, int(action)])
        returns, following = [], 0.0
        for reward in reversed(rewards):
            following = reward + 0.9 * following
            returns.insert(0, following)
        loss = -(torch.stack(log_probs) * torch.tensor(returns, dtype=torch.float32)).mean()
        if target is not None:
            for s in visited:
                mask = completions[column[s]]
                induced = torch.softmax(net(eye[mask]), dim=-1).mean(dim=0)
                goal = torch.as_tensor(target[column[s]], dtype=torch.float32)
                loss = loss - lam * (goal * induced.log()).sum() / 50
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - start) / epochs


def batched(pair: imm_rl.EnvPair, policy: object, lam: float, epochs: int, runs: int) -> float:
    """Seconds per training and epoch of the product's program."""
    agent = imm_rl.IMMReinforce(
        pair,
        policy,
        lam,
        seeds=range(runs),
        settings=ReinforceSettings.preset("paper"),
        device="cpu",
    )
    agent.learn(50, evaluate_at=[])
    start = time.perf_counter()
    agent.learn(50 * (epochs + 1), evaluate_at=[])
    return (time.perf_counter() - start) / (epochs * runs)


def main() -> None:
    """Alternates the two sides and prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=30, help="trainings side by side")
    args = parser.parse_args()
    pair = imm_rl.make("grid")
    policy = paper.restricted_policies(pair)["imm_argmax"]
    target = policy.probs(pair.observation_beliefs)
    print(
        f"{torch.get_num_threads()} threads, {args.runs} trainings side by side, {args.rounds} rounds"
    )
    for name, p, t, lam in (("REINFORCE", None, None, 0.0), ("with IMM", policy, target, 0.25)):
        times = [
            (sequential(pair, t, lam, 10), batched(pair, p, lam, 100, args.runs))
            for _ in range(args.rounds)
        ]
        one, many = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{name}: sequential {1e3 * one:.2f} ms, batched {1e3 * many:.3f} ms a training and epoch, "
            f"ratio {one / many:.0f} (rounds {min(a / b for a, b in times):.0f}"
            f"–{max(a / b for a, b in times):.0f})"
        )


if __name__ == "__main__":
    main()
