import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.vec_env import DummyVecEnv

import imm_rl
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.envs.feature_pair import FeaturePair

SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 4, "seed": 3, "device": "cpu"}


class Doors(gymnasium.Env):
    """Sees a number and which door is shut; its own method says so too."""

    observation_space = spaces.Box(-1.0, 3.0, (2,), dtype=np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.draw(), {}

    def draw(self):
        self.shut = int(self.np_random.integers(3))
        return np.array([self.np_random.uniform(-1, 1), self.shut], dtype=np.float32)

    def step(self, action):
        assert action != self.shut
        self.t += 1
        return self.draw(), float(action == 0), self.t == 10, False, {}

    def action_masks(self):
        return np.arange(3) != self.shut


def mostly_first(views):
    return np.tile([0.8, 0.15, 0.05], (len(views), 1))


@pytest.fixture(scope="module")
def doors():
    return FeaturePair("doors", Doors, observe=[0])


@pytest.fixture(scope="module")
def tiger():
    return imm_rl.make("tiger")


def masked_tiger(pair, allowed):
    """The treasure may not be taken where the tiger is, or nothing is masked."""

    def mask(env):
        return allowed[env.unwrapped.state]

    return DummyVecEnv([lambda: ActionMasker(pair.mdp(), mask)] * 2)


OPEN_RIGHT = np.array([[True, False, True], [True, True, False]])


def policy_of(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_maskable_trains_with_the_term_on_a_feature_pair(doors):
    env = doors.sb3_vector(2)
    plain = policy_of(MaskablePPO("MlpPolicy", env, **SMALL).learn(256))
    model = MaskablePPO("MlpPolicy", doors.sb3_vector(2), **SMALL)
    callback = IMMCallback(doors, mostly_first, 1.0)
    model.learn(256, callback=callback)
    assert not same(plain, policy_of(model))
    state = callback.state()
    np.testing.assert_array_equal(
        state["matcher/masks"].argmin(axis=1), state["matcher/observations/"][:, 1]
    )
    logged = model.logger.name_to_value
    assert np.isfinite([logged[f"imm/{name}"] for name in ("loss", "kl", "agreement")]).all()
    assert "imm/naive_kl" not in logged  # infinite: some states forbid what the policy wants


def test_maskable_is_drawn_to_the_restricted_policy_among_allowed_actions(doors):
    model = MaskablePPO("MlpPolicy", doors.sb3_vector(2), learning_rate=1e-2, **SMALL)
    # Where the term is all there is, Q̄ is P̂ although no state may do all of it.
    model.ent_coef = model.vf_coef = 0.0
    callback = IMMCallback(doors, mostly_first, 10.0, refresh=1)
    model.learn(512, callback=callback)
    observations = np.stack([np.tile([0.1], 3), np.arange(3)], axis=1).astype(np.float32)
    masks = np.arange(3) != np.arange(3)[:, None]
    with torch.no_grad():
        found = model.policy.get_distribution(torch.as_tensor(observations), action_masks=masks)
    probs = found.distribution.probs.numpy()
    assert (probs[~masks] == 0.0).all()
    assert probs[1, 0] > 0.75  # door 0 or 2
    assert probs[2, 0] > 0.75  # door 0 or 1


@pytest.mark.parametrize("imm_lambda", [0.0, "linear:0->0@0.5"])
def test_maskable_at_lambda_zero_is_plain_on_a_feature_pair(doors, imm_lambda):
    plain = MaskablePPO("MlpPolicy", doors.sb3_vector(2), **SMALL).learn(192)
    model = MaskablePPO("MlpPolicy", doors.sb3_vector(2), **SMALL)
    model.learn(192, callback=IMMCallback(doors, mostly_first, imm_lambda))
    assert same(policy_of(plain), policy_of(model))


def test_maskable_trains_with_the_term_on_a_tabular_pair(tiger):
    plain = MaskablePPO("MlpPolicy", masked_tiger(tiger, OPEN_RIGHT), **SMALL).learn(256)
    at_zero = MaskablePPO("MlpPolicy", masked_tiger(tiger, OPEN_RIGHT), **SMALL)
    at_zero.learn(256, callback=IMMCallback(tiger, imm_lambda=0.0))
    assert same(policy_of(plain), policy_of(at_zero))
    model = MaskablePPO("MlpPolicy", masked_tiger(tiger, OPEN_RIGHT), **SMALL)
    callback = IMMCallback(tiger, imm_lambda=1.0)
    model.learn(256, callback=callback)
    assert not same(policy_of(plain), policy_of(model))
    np.testing.assert_array_equal(callback.state()["matcher/masks"], OPEN_RIGHT)
    assert np.isfinite(model.logger.name_to_value["imm/kl"])


def test_maskable_where_all_is_allowed_is_matched_as_ppo_is(tiger):
    trained = []
    for masked in (True, False):
        env = masked_tiger(tiger, np.ones((2, 3), dtype=bool))
        model = MaskablePPO("MlpPolicy", env, **SMALL)
        callback = IMMCallback(tiger, imm_lambda=1.0)
        model.learn(192, callback=callback, use_masking=masked)
        trained.append(policy_of(model))
    for name, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][name])
