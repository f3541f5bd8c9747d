"""The first steps with stable-baselines3, and the one line that adds Induced Model Matching.

    python scripts/quick_start.py

PPO learns CartPole-v1 twice from the same seed: as it stands, and with `IMMCallback`. What is matched is a
rule of thumb that sees two of the four features, the pole's angle and how fast it turns, and not where
the cart is: on its own it lets the cart drift away. After each training the agent plays; both returns are
printed, with the rule's own. Each part is short enough for a cell of a notebook. About half a minute.
"""

from __future__ import annotations

import argparse

import gymnasium
import numpy as np
from stable_baselines3 import PPO

from imm_rl import IMMCallback

STEPS, SEED, EPISODES = 6_000, 0, 10


def push_under_the_pole(views: np.ndarray) -> np.ndarray:
    """The rule: pushes to the side that the pole falls to. views (N, 2): angle, angular velocity."""
    return (views.sum(axis=1) > 0.0).astype(int)


def play(act, episodes: int) -> float:
    """Mean return of acting by act(observation)."""
    env = gymnasium.make("CartPole-v1")
    total = 0.0
    for episode in range(episodes):
        observation, _ = env.reset(seed=1_000 + episode)  # the same starts for everybody
        done = False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += reward
            done = terminated or truncated
    env.close()
    return total / episodes


def trained(matching: bool, steps: int, seed: int) -> PPO:
    """PPO as in any first script; the callback is the line that is added."""
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=256, seed=seed, device="cpu")
    callback = None
    if matching:
        callback = IMMCallback("CartPole-v1(observe=[2, 3])", push_under_the_pole)
    return model.learn(steps, callback=callback)


def main() -> None:
    """Trains twice and prints three returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps of a training")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="played after training")
    args = parser.parse_args()

    rule = play(lambda seen: int(push_under_the_pole(seen[None, 2:])[0]), args.episodes)
    print(f"the rule alone, which sees two features  {rule:6.1f}")
    for matching, name in ((False, "PPO"), (True, "PPO with IMMCallback")):
        model = trained(matching, args.steps, args.seed)
        mean = play(
            lambda seen, m=model: int(m.predict(seen, deterministic=True)[0]), args.episodes
        )
        print(f"{name + f', {args.steps:,} steps':<39}  {mean:6.1f}")


if __name__ == "__main__":
    main()
