"""`sb3_one_hot` gives what the policy itself gives at one-hot observations, gradients too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from imm_rl.agents import sb3_one_hot
from imm_rl.agents.sb3_one_hot import log_probs_at
from imm_rl.agents.sb3_policies import log_probs
from imm_rl.envs import make

STATES = np.array([0, 5, 3, 10, 5])


class Doubling(ActorCriticPolicy):
    """A user's policy that looks at observations in its own way."""

    def extract_features(self, obs, features_extractor=None):
        return 2.0 * super().extract_features(obs, features_extractor)


def a_policy(kind="MlpPolicy", algorithm=PPO, **kwargs):
    pair = make("grid(size=5)")
    model = algorithm(
        kind, pair.sb3_vector(2), n_steps=32, seed=0, device="cpu", policy_kwargs=kwargs
    )
    with torch.no_grad():  # the last layer starts near 0
        model.policy.action_net.weight.mul_(100.0)
    return model.policy


def asked_itself(monkeypatch):
    """Counts how often the policy is asked as it stands."""
    asked = []

    def counted(*arguments):
        asked.append(arguments)
        return log_probs(*arguments)

    monkeypatch.setattr(sb3_one_hot, "log_probs", counted)
    return asked


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (PPO, {}),
        (A2C, {"net_arch": [16]}),
        (PPO, {"net_arch": {"pi": [8, 8], "vf": []}}),
        (PPO, {"share_features_extractor": False}),
        (PPO, {"activation_fn": torch.nn.ReLU}),
    ],
)
def test_log_probs_at_gives_the_policys_own_values_and_gradients(algorithm, kwargs, monkeypatch):
    policy = a_policy(algorithm=algorithm, **kwargs)
    asked = asked_itself(monkeypatch)
    found, expected = log_probs_at(policy, STATES), log_probs(policy, STATES)
    assert not asked
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(-1.0, 2.0, found.numel()).view_as(found)
    parameters = list(policy.parameters())
    ours, theirs = (
        torch.autograd.grad((weights * v).sum(), parameters, allow_unused=True)
        for v in (found, expected)
    )
    assert sum(g is not None for g in ours) > 3
    for own, other in zip(ours, theirs, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            torch.testing.assert_close(own, other)


def test_log_probs_at_applies_masks(monkeypatch):
    contrib = pytest.importorskip("sb3_contrib")
    policy = a_policy(algorithm=contrib.MaskablePPO)
    masks = torch.tensor([[True, False, True, True]] * 4 + [[False, False, True, False]])
    asked = asked_itself(monkeypatch)
    found = log_probs_at(policy, STATES, masks)
    assert not asked
    torch.testing.assert_close(found, log_probs(policy, STATES, masks))
    assert torch.isclose(found[4, 2], torch.tensor(0.0))


def test_log_probs_at_asks_a_policy_of_the_users_itself(monkeypatch):
    asked = asked_itself(monkeypatch)
    for policy in (a_policy(Doubling), a_policy(net_arch=[])):
        torch.testing.assert_close(log_probs_at(policy, STATES), log_probs(policy, STATES))
    hooked = a_policy()
    hooked.mlp_extractor.policy_net[0].register_forward_hook(lambda *parts: 3.0 * parts[-1])
    torch.testing.assert_close(log_probs_at(hooked, STATES), log_probs(hooked, STATES))
    assert len(asked) == 3
