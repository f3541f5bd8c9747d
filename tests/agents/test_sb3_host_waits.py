"""Matching in PPO and A2C: what is added before a gradient step makes nobody wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO

import imm_rl
from imm_rl.agents.sb3_gradient import TermGradient
from imm_rl.agents.sb3_term import PolicyTerm
from imm_rl.errors import RunFailedError

NoHostWaits = Callable[[], AbstractContextManager[None]]


def upright(views: np.ndarray) -> np.ndarray:
    return (views[:, 0] > 0.0).astype(np.int64)


@pytest.mark.parametrize(
    ("algorithm", "env", "options"),
    [
        (PPO, "grid(size=5)", {"restricted": "fib"}),
        (PPO, "cheese", {"restricted": "qmdp", "method": "naive-kl"}),
        (PPO, "cheese", {"restricted": "qmdp", "method": "noising"}),
        (A2C, "tiger", {"restricted": "pomdp"}),
        (PPO, "CartPole-v1(observe=[2, 3])", {"restricted": upright}),
    ],
)
def test_no_gradient_step_waits_but_those_that_are_measured(
    algorithm: Any, env: str, options: dict[str, Any], no_host_waits: NoHostWaits
) -> None:
    pair = imm_rl.make(env)
    callback = imm_rl.IMMCallback(pair, imm_lambda=0.5, refresh=1, **options)
    whole, looked = callback._before_step, []

    def before_step(optimizer: Any, *rest: Any) -> None:
        if callback._unmeasured + 1 >= 16 and callback._gradient.dropped:
            looked.append(True)  # a measurement, one a rollout at most
            whole(optimizer, *rest)
            return
        with no_host_waits():
            whole(optimizer, *rest)
        looked.append(False)

    callback._before_step = before_step  # type: ignore[method-assign]
    sizes = {"batch_size": 16, "n_epochs": 2} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", pair.sb3_vector(2), n_steps=32, seed=0, device="cpu", **sizes)
    model.learn(256, callback=callback)
    assert looked.count(False) > looked.count(True) > 0


def test_a_gradient_that_is_not_finite_is_left_out_and_told_at_the_next_look() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 0.25)
    optimizer = torch.optim.SGD([weight], 0.1)
    policy = torch.nn.Linear(1, 1)
    policy.set_training_mode = policy.train  # type: ignore[assignment]
    gradient = TermGradient(1)
    gradient.renew(
        policy, optimizer, lambda: PolicyTerm((weight / 0.0).sum() * 0.0, dict), limit=0.5
    )
    gradient.add(1.0)
    assert weight.grad.tolist() == [0.25, 0.25]
    with pytest.raises(RunFailedError, match="gradient of the matching term is not finite"):
        gradient.check()
    gradient.check()  # told once
