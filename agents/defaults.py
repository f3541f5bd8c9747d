"""What is trained with when nothing is said: one readable place, free of torch.

`docs/defaults.md` says how these were chosen and what else was tried. Where this table says nothing the
settings' own defaults hold: `ReinforceSettings`, `PPOSettings`, `A2CSettings`.
"""

from __future__ import annotations

from typing import Any

DEFAULT_LAMBDA = {"default": "linear:1->0@0.5", "paper": "paper"}
"""Weight of the matching term, by preset."""

ANY_TABULAR, ANY_OTHER = "any tabular environment", "any other environment"

TRAINING: dict[str, dict[str, dict[str, Any]]] = {
    "reinforce": {
        ANY_TABULAR: {"steps": 50_000},
        "tiger": {"steps": 10_000},
        "cheese": {"steps": 10_000},
        "4x3": {"steps": 15_000},
        "crying-baby": {"steps": 10_000},
        "grid": {"steps": 15_000},
    },
    "ppo": {
        ANY_TABULAR: {
            "steps": 50_000,
            "n_envs": 8,
            "n_steps": 32,
            "batch_size": 128,
            "n_epochs": 10,
            "learning_rate": 2e-3,
        },
        # A larger λ is as quick there, and ends a little lower: it leaves too sure a policy behind.
        "tiger": {"steps": 15_000, "lambda": "linear:0.1->0@0.5"},
        "cheese": {"steps": 10_000},
        "4x3": {"steps": 15_000},
        "crying-baby": {"steps": 15_000},
        "grid": {"steps": 15_000},
        "hallway": {"steps": 30_000},
        ANY_OTHER: {"steps": 100_000},
        "Acrobot-v1": {
            "steps": 200_000,
            "n_envs": 8,
            "n_steps": 256,
            "batch_size": 128,
            "n_epochs": 4,
            "gae_lambda": 0.94,
        },
        "CartPole-v1": {
            "steps": 50_000,
            "n_envs": 8,
            "n_steps": 64,
            "batch_size": 128,
            "n_epochs": 10,
            "learning_rate": 1e-3,
            "gamma": 0.98,
            "gae_lambda": 0.9,
        },
        "MountainCar-v0": {
            "steps": 300_000,
            "n_envs": 16,
            "n_steps": 64,
            "batch_size": 128,
            "n_epochs": 4,
            "learning_rate": 1e-3,
            "gae_lambda": 0.98,
        },
        "Pendulum-v1": {
            "steps": 100_000,
            "n_envs": 4,
            "n_steps": 512,
            "learning_rate": 1e-3,
            "gamma": 0.9,
        },
    },
    "a2c": {
        ANY_TABULAR: {"steps": 50_000, "n_envs": 8, "n_steps": 16},
        ANY_OTHER: {"steps": 200_000},
        "Acrobot-v1": {"n_envs": 16},
        "CartPole-v1": {"n_envs": 8},
        "MountainCar-v0": {"steps": 500_000, "n_envs": 16},
        "Pendulum-v1": {"steps": 500_000, "n_envs": 8, "n_steps": 8, "gamma": 0.9},
    },
}
"""By agent and environment: `steps`, environment steps of a run; `lambda`, if another than above; and
settings. An environment's own entry goes before that of any."""


def training_defaults(agent: str, name: str, *, tabular: bool = True) -> dict[str, Any]:
    """What a default training of this agent on the environment of this name is told.

    Args:
        agent: "reinforce", "ppo" or "a2c".
        name: Of the pair, such as "tiger" or "CartPole-v1".
        tabular: Whether it has a model.

    Returns:
        `steps`, perhaps `lambda`, and settings of the agent.
    """
    table = TRAINING[agent]
    any_one = table[ANY_TABULAR if tabular else ANY_OTHER]
    return {**any_one, **table.get(name, {})}


def training_steps(name: str, agent: str = "reinforce") -> int:
    """Environment steps of a default run on the tabular environment of this name."""
    return int(training_defaults(agent, name)["steps"])
