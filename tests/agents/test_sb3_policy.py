import json
import pickle
import random
import sys
import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from imm_rl.agents.restricted.sb3_networks import squashed_std
from imm_rl.agents.restricted.sb3_policy import MOST_ROWS, SB3ViewPolicy
from imm_rl.agents.restricted.view_policy import ACTION_NOISE, ViewPolicy, as_view_policy
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.errors import InvalidInputError

VIEW = spaces.Box(-1.0, 1.0, (2,))
THREE = spaces.Discrete(3)
# Bounds of different ranges, none symmetric, so that every mistake of scale shows.
BOX = spaces.Box(np.array([-1.0, 0.0], dtype=np.float32), np.array([3.0, 0.5], dtype=np.float32))
SMALL = {"net_arch": [4]}
LSTM = {"net_arch": [4], "lstm_hidden_size": 3, "n_lstm_layers": 2}


class Noise(gymnasium.Env):
    """Views without meaning; only the spaces matter."""

    def __init__(self, view_space=VIEW, action_space=THREE):
        self.observation_space, self.action_space = view_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        view = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return view, 0.0, bool(self.np_random.random() < 0.2), False, {}


def model_of(algorithm, action_space=THREE, view_space=VIEW, **arguments):
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    more = {"buffer_size": 10} if algorithm in (DQN, QRDQN, SAC, TD3, DDPG, TQC, CrossQ) else {}
    kwargs = LSTM if algorithm is RecurrentPPO else SMALL
    given = {"policy_kwargs": kwargs, "seed": 3, "device": "cpu", **more, **arguments}
    given["policy_kwargs"] = dict(given["policy_kwargs"])  # SB3 writes into it
    return algorithm(policy, Noise(view_space, action_space), **given)


def stirred(model):
    """The model with weights large enough that answers differ from view to view."""
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        for parameter in model.policy.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=rng))
    return model


def rollout_of(n_steps=6, n_envs=3, seed=0):
    rng = np.random.default_rng(seed)
    views = rng.uniform(-1, 1, (n_steps, n_envs, 2)).astype(np.float32)
    starts = rng.random((n_steps, n_envs)) < 0.3
    starts[0] = True
    return views, starts


DISCRETE = (PPO, A2C, TRPO, MaskablePPO, RecurrentPPO, DQN, QRDQN)
CONTINUOUS = (PPO, A2C, TRPO, RecurrentPPO, SAC, TQC, CrossQ, TD3, DDPG)
KINDS = [(a, THREE) for a in DISCRETE] + [(a, BOX) for a in CONTINUOUS]
kinds = pytest.mark.parametrize(
    ("algorithm", "space"), KINDS, ids=lambda v: v.__name__ if isinstance(v, type) else str(v)[:3]
)


@kinds
def test_every_kind_is_saved_loaded_and_acts_as_it_predicts(algorithm, space, tmp_path):
    model = stirred(model_of(algorithm, space))
    model.save(tmp_path / "saved")
    policy = SB3ViewPolicy.load(tmp_path / "saved")
    assert isinstance(policy, ViewPolicy)
    assert policy.name == "saved"
    assert policy.remembers == (algorithm is RecurrentPPO)
    views, starts = rollout_of()
    answers, _ = policy.follow(views, starts)
    direct, _ = SB3ViewPolicy(model).follow(views, starts)
    np.testing.assert_array_equal(answers, direct)
    state = None
    for t in range(len(views)):
        actions, state = model.predict(
            views[t], state=state, episode_start=starts[t], deterministic=True
        )
        if space is THREE:
            np.testing.assert_array_equal(answers[t].argmax(axis=-1), actions)
        else:
            np.testing.assert_allclose(answers[t, :, 0], actions, atol=1e-5)
    assert np.ptp(answers.reshape(18, -1), axis=0).max() > 1e-3, "the answers depend on the view"


@kinds
def test_no_kind_touches_random_numbers_modes_or_gradients(algorithm, space, tmp_path):
    model = model_of(algorithm, space)
    model.save(tmp_path / "saved.zip")
    model.policy.train()
    next(model.policy.parameters()).requires_grad_(False)
    modes = [module.training for module in model.policy.modules()]
    needed = [parameter.requires_grad for parameter in model.policy.parameters()]
    views, starts = rollout_of()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    SB3ViewPolicy(model).follow(views, starts)
    SB3ViewPolicy.load(tmp_path / "saved.zip").follow(views, starts)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    assert [module.training for module in model.policy.modules()] == modes
    assert [parameter.requires_grad for parameter in model.policy.parameters()] == needed
    assert torch.is_grad_enabled()


def test_dropout_is_off_and_random_numbers_stay_where_a_network_draws_some():
    class Drawing(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 2)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, views):
            torch.rand(7)
            return self.drop(views)

    model = model_of(PPO, policy_kwargs={**SMALL, "features_extractor_class": Drawing})
    model = stirred(model)
    model.policy.train()
    views, starts = rollout_of()
    before = torch.get_rng_state()
    first, _ = SB3ViewPolicy(model).follow(views, starts)
    second, _ = SB3ViewPolicy(model).follow(views, starts)
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.policy.features_extractor.drop.training


def linear_model(algorithm=PPO, space=THREE):
    """π(view) = softmax(W view + b), or mean W view + b and standard deviations exp(log_std)."""
    model = model_of(algorithm, space, policy_kwargs={"net_arch": []})
    n = 3 if space is THREE else 2
    with torch.no_grad():
        model.policy.action_net.weight.copy_(
            torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])[:n]
        )
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 0.5, -0.25])[:n])
        if space is not THREE:
            model.policy.log_std.copy_(torch.tensor([0.0, -1.0]))
    return model


GOLDEN_VIEWS = np.array([[[0.5, -0.25]], [[0.0, 0.0]]], dtype=np.float32)
FRESH = np.array([[True], [False]])
# Logits (0.5, 0, −1) and (0, 0.5, −0.25), by hand.
GOLDEN = np.exp([[0.5, 0.0, -1.0], [0.0, 0.5, -0.25]])
GOLDEN /= GOLDEN.sum(axis=1, keepdims=True)


def test_probabilities_of_a_linear_network_are_those_computed_by_hand():
    model = linear_model()
    answers, _ = SB3ViewPolicy(model).follow(GOLDEN_VIEWS, FRESH)
    np.testing.assert_allclose(answers[:, 0], GOLDEN, rtol=1e-6)
    np.testing.assert_allclose(answers[0, 0], [0.546549, 0.331498, 0.121951], atol=5e-6)
    with torch.no_grad():
        inner = model.policy.get_distribution(torch.as_tensor(GOLDEN_VIEWS[:, 0])).distribution
    np.testing.assert_allclose(answers[:, 0], inner.probs.numpy(), atol=1e-6)


def test_temperature_sharpens_log_probabilities_and_greedy_takes_the_likeliest():
    cold = SB3ViewPolicy(linear_model(), temperature=0.5)
    wanted = GOLDEN**2 / (GOLDEN**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(cold.follow(GOLDEN_VIEWS, FRESH)[0][:, 0], wanted, rtol=1e-6)
    greedy = SB3ViewPolicy(linear_model(), deterministic=True)
    np.testing.assert_array_equal(
        greedy.follow(GOLDEN_VIEWS, FRESH)[0][:, 0], [[1, 0, 0], [0, 1, 0]]
    )


def test_means_of_a_linear_network_are_clipped_and_keep_their_standard_deviations():
    answers, _ = SB3ViewPolicy(linear_model(space=BOX)).follow(GOLDEN_VIEWS, FRESH)
    np.testing.assert_allclose(answers[:, 0, 0], [[0.5, 0.0], [0.0, 0.5]], atol=1e-7)
    np.testing.assert_allclose(answers[:, 0, 1], [[1.0, np.exp(-1.0)]] * 2, rtol=1e-6)
    far = SB3ViewPolicy(linear_model(space=BOX)).follow(8.0 * GOLDEN_VIEWS, FRESH)[0]
    np.testing.assert_allclose(far[0, 0, 0], [3.0, 0.0])  # of (4, −3.5)


def test_deterministic_continuous_policy_has_the_noise_it_is_given():
    policy = SB3ViewPolicy(linear_model(space=BOX), deterministic=True, noise=0.25)
    answers, _ = policy.follow(GOLDEN_VIEWS, FRESH)
    np.testing.assert_allclose(answers[:, 0, 1], [[1.0, 0.125]] * 2)


@pytest.mark.parametrize("algorithm", [TD3, DDPG])
def test_policies_without_noise_get_a_share_of_the_range(algorithm):
    views, starts = rollout_of()
    answers, _ = SB3ViewPolicy(model_of(algorithm, BOX)).follow(views, starts)
    np.testing.assert_allclose(answers[:, :, 1], np.broadcast_to([4.0, 0.5], (6, 3, 2)) * 0.1)
    assert ACTION_NOISE == 0.1
    wide, _ = SB3ViewPolicy(model_of(algorithm, BOX), noise=0.5).follow(views, starts)
    np.testing.assert_allclose(wide[0, 0, 1], [2.0, 0.25])


def test_dqn_is_greedy_with_ties_split_or_soft_at_a_temperature():
    model = model_of(DQN, policy_kwargs={"net_arch": []})
    with torch.no_grad():
        layer = model.policy.q_net.q_net[0]
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        layer.bias.zero_()
    views = np.array([[[0.5, -0.5]], [[-0.5, 0.5]]], dtype=np.float32)
    greedy, _ = SB3ViewPolicy(model).follow(views, FRESH)
    np.testing.assert_array_equal(greedy[:, 0], [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    soft, _ = SB3ViewPolicy(model, temperature=0.5).follow(views, FRESH)
    e = np.exp([1.0, 1.0, -1.0])
    np.testing.assert_allclose(soft[0, 0], e / e.sum(), rtol=1e-6)


def test_qrdqn_values_are_the_means_of_its_quantiles():
    model = stirred(model_of(QRDQN))
    views, starts = rollout_of()
    with torch.no_grad():
        values = model.quantile_net(torch.as_tensor(views.reshape(-1, 2))).mean(dim=1)
    answers, _ = SB3ViewPolicy(model, temperature=2.0).follow(views, starts)
    wanted = (values / 2.0).softmax(-1).numpy().reshape(6, 3, 3)
    np.testing.assert_allclose(answers, wanted, atol=1e-6)


@pytest.mark.parametrize("algorithm", [SAC, TQC, CrossQ])
def test_squashed_standard_deviation_is_that_of_its_samples(algorithm):
    model = stirred(model_of(algorithm, BOX))
    views = np.array([[[0.3, -0.8]]], dtype=np.float32)
    answers, _ = SB3ViewPolicy(model).follow(views, np.array([[True]]))
    torch.manual_seed(0)
    many = np.repeat(views[0], 100_000, axis=0)
    sampled, _ = model.predict(many, deterministic=False)
    np.testing.assert_allclose(answers[0, 0, 1], sampled.std(axis=0), rtol=0.02)
    assert answers[0, 0, 1].max() < 2.0


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1e-3), (0.4, 0.3), (-1.0, 1.5), (0.5, 7.0), (2.0, 0.01)]
)
def test_squashed_std_agrees_with_a_fine_sum(mean, std):
    x = np.linspace(mean - 9 * std, mean + 9 * std, 200_001)
    p = np.exp(-0.5 * ((x - mean) / std) ** 2)
    p /= p.sum()
    y = np.tanh(x)
    wanted = np.sqrt((p * (y - (p * y).sum()) ** 2).sum())
    found = squashed_std(np.array([[mean]]), np.array([[std]]))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_saturated_action_keeps_a_density():
    assert squashed_std(np.array([[40.0]]), np.array([[1e-8]])) == 1e-6


def test_state_dependent_exploration_has_the_standard_deviation_at_each_view():
    model = stirred(model_of(PPO, BOX, use_sde=True))
    views, starts = rollout_of()
    answers, _ = SB3ViewPolicy(model).follow(views, starts)
    with torch.no_grad():
        inner = model.policy.get_distribution(torch.as_tensor(views.reshape(-1, 2))).distribution
    np.testing.assert_allclose(answers[:, :, 1].reshape(-1, 2), inner.stddev.numpy(), rtol=1e-5)
    assert np.ptp(answers[:, :, 1]) > 1e-3


def test_state_dependent_exploration_survives_saving_and_squashing(tmp_path):
    kwargs = {**SMALL, "squash_output": True}
    for model in (
        model_of(PPO, BOX, use_sde=True, policy_kwargs=kwargs),
        model_of(SAC, BOX, use_sde=True),
    ):
        stirred(model).save(tmp_path / "sde")
        views, starts = rollout_of()
        answers, _ = SB3ViewPolicy.load(tmp_path / "sde").follow(views, starts)
        actions, _ = model.predict(views.reshape(-1, 2), deterministic=True)
        np.testing.assert_allclose(answers[:, :, 0].reshape(-1, 2), actions, atol=1e-5)


@pytest.mark.parametrize("space", [THREE, BOX], ids=["discrete", "box"])
def test_recurrent_rollout_equals_stepping_one_by_one(space):
    model = stirred(model_of(RecurrentPPO, space))
    views, starts = rollout_of(n_steps=40, n_envs=4)
    assert starts[1:].any(axis=0).all(), "every environment starts again in mid-rollout"
    answers, memory = SB3ViewPolicy(model).follow(views, starts)
    states = tuple(torch.zeros(2, 4, 3) for _ in range(2))
    carried = None
    for t in range(40):
        with torch.no_grad():
            distribution, states = model.policy.get_distribution(
                torch.as_tensor(views[t]), states, torch.as_tensor(starts[t], dtype=torch.float32)
            )
        inner = distribution.distribution
        actions, carried = model.predict(
            views[t], state=carried, episode_start=starts[t], deterministic=True
        )
        if space is THREE:
            np.testing.assert_allclose(answers[t], inner.probs.numpy(), atol=1e-6)
            np.testing.assert_array_equal(answers[t].argmax(-1), actions)
        else:
            np.testing.assert_allclose(answers[t, :, 0], actions, atol=1e-5)
            np.testing.assert_allclose(answers[t, :, 1], inner.stddev.numpy(), rtol=1e-6)
    np.testing.assert_allclose(memory, torch.stack(states).numpy(), atol=1e-5)


def test_recurrent_memory_over_two_halves_equals_one_whole():
    policy = SB3ViewPolicy(stirred(model_of(RecurrentPPO)))
    views, starts = rollout_of(n_steps=30, n_envs=4)
    starts[13:17] = False
    whole, last = policy.follow(views, starts)
    first, memory = policy.follow(views[:15], starts[:15])
    assert memory.shape == (2, 2, 4, 3)
    second, after = policy.follow(views[15:], starts[15:], memory)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-6)
    np.testing.assert_allclose(after, last, atol=1e-6)
    forgot, _ = policy.follow(views[15:], starts[15:])
    assert np.abs(forgot[0] - second[0]).max() > 1e-3, "what came before matters"


def test_recurrent_rows_in_parts_equal_one_whole(monkeypatch):
    policy = SB3ViewPolicy(stirred(model_of(RecurrentPPO)))
    views, starts = rollout_of(n_steps=11, n_envs=3)
    whole, last = policy.follow(views, starts)
    monkeypatch.setattr("imm_rl.agents.restricted.sb3_policy.MOST_ROWS", 7)
    parts, after = policy.follow(views, starts)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    np.testing.assert_allclose(after, last, atol=1e-6)


def test_more_views_than_are_asked_at_a_time_keep_their_places():
    model = stirred(model_of(PPO))
    views, _ = rollout_of(n_steps=MOST_ROWS // 3 + 5, n_envs=3)
    answers, _ = SB3ViewPolicy(model).follow(views, np.zeros(views.shape[:2], dtype=bool))
    for t, e in ((0, 2), (MOST_ROWS // 3 - 1, 0), (MOST_ROWS // 3 + 4, 1)):
        one, _ = SB3ViewPolicy(model).follow(views[t : t + 1, e : e + 1], np.array([[True]]))
        np.testing.assert_allclose(answers[t, e], one[0, 0], atol=1e-6)


def test_memory_of_another_policy_is_refused():
    views, starts = rollout_of()
    with pytest.raises(InvalidInputError, match="have shape \\(2, 2, 3, 3\\)"):
        SB3ViewPolicy(model_of(RecurrentPPO)).follow(views, starts, np.zeros((2, 2, 5, 3)))
    with pytest.raises(InvalidInputError, match="be None, as it remembers nothing"):
        SB3ViewPolicy(model_of(PPO)).follow(views, starts, np.zeros((2, 2, 3, 3)))


@pytest.mark.parametrize(
    ("space", "views"),
    [
        (spaces.Discrete(4), np.array([[0, 1], [3, 2]])),
        (spaces.MultiDiscrete([3, 2]), np.array([[[0, 1], [2, 0]], [[1, 1], [2, 1]]])),
        (spaces.MultiBinary(3), np.array([[[0, 1, 1], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]])),
    ],
    ids=str,
)
def test_whole_number_views_are_seen_as_the_model_sees_them(space, views):
    model = stirred(model_of(PPO, view_space=space))
    starts = np.array([[True, True], [False, False]])
    answers, _ = SB3ViewPolicy(model).follow(views, starts)
    for t in range(2):
        seen, _ = model.policy.obs_to_tensor(views[t])
        with torch.no_grad():
            inner = model.policy.get_distribution(seen).distribution
        np.testing.assert_allclose(answers[t], inner.probs.numpy(), atol=1e-6)
    flat, _ = SB3ViewPolicy(model).follow(views.reshape(2, 2, -1), starts)
    np.testing.assert_array_equal(flat, answers)


def test_images_are_seen_with_channels_first_wherever_they_come_from(tmp_path):
    space = spaces.Box(0, 255, (40, 44, 3), dtype=np.uint8)
    model = stirred(
        PPO("CnnPolicy", Noise(space), policy_kwargs={"net_arch": []}, seed=0, device="cpu")
    )
    model.save(tmp_path / "cnn")
    views = np.random.default_rng(0).integers(0, 256, (2, 2, 40, 44, 3), dtype=np.uint8)
    starts = np.array([[True, True], [False, False]])
    policy = as_view_policy(tmp_path / "cnn", space, THREE)
    assert policy.view_space is space
    answers, _ = policy.follow(views, starts)
    with torch.no_grad():
        seen = torch.as_tensor(views.reshape(4, 40, 44, 3)).permute(0, 3, 1, 2)
        inner = model.policy.get_distribution(seen).distribution
    np.testing.assert_allclose(answers.reshape(4, 3), inner.probs.numpy(), atol=1e-5)
    flat, _ = policy.follow(views.reshape(2, 2, -1), starts)
    np.testing.assert_array_equal(flat, answers)
    with pytest.raises(InvalidInputError, match="views must have shape"):
        SB3ViewPolicy(model).follow(views.reshape(2, 2, -1), starts)


def masked(views):
    mask = np.ones((len(views), 3), dtype=bool)
    mask[:, 0] = views[:, 0] > 0
    return mask


def test_maskable_policy_leaves_out_what_its_masks_forbid():
    model = stirred(model_of(MaskablePPO))
    views, starts = rollout_of()
    free = SB3ViewPolicy(model)
    policy = SB3ViewPolicy(model, action_masks=masked)
    assert free.notes == ("There are no action masks: every action counts as valid.",)
    assert policy.notes == ()
    probs, answers = free.follow(views, starts)[0], policy.follow(views, starts)[0]
    allowed = probs * masked(views.reshape(-1, 2)).reshape(6, 3, 3)
    np.testing.assert_allclose(
        answers, allowed / allowed.sum(axis=-1, keepdims=True), rtol=1e-5, atol=1e-12
    )


def test_masks_that_are_none_are_refused():
    for masks in (lambda v: np.zeros((len(v), 3), bool), lambda v: np.ones((len(v), 3))):
        policy = SB3ViewPolicy(model_of(MaskablePPO), action_masks=masks)
        with pytest.raises(InvalidInputError, match="action_masks of restricted policy"):
            policy.follow(*rollout_of())


def normalised_model(tmp_path):
    env = VecNormalize(DummyVecEnv([Noise]))
    env.obs_rms.mean, env.obs_rms.var = np.array([0.5, -2.0]), np.array([4.0, 0.25])
    model = stirred(A2C("MlpPolicy", env, policy_kwargs=dict(SMALL), seed=0, device="cpu"))
    model.save(tmp_path / "model")
    env.save(tmp_path / "vecnormalize.pkl")
    return model, env


def test_statistics_beside_the_zip_are_loaded_said_and_left_as_they_are(tmp_path):
    model, _ = normalised_model(tmp_path)
    views, starts = rollout_of()
    plain, _ = SB3ViewPolicy(model, normalize=False).follow(
        ((views - [0.5, -2.0]) / np.sqrt(np.array([4.0, 0.25]) + 1e-8)).astype(np.float32), starts
    )
    policy = SB3ViewPolicy.load(tmp_path)
    assert policy.notes == (f"Views are normalised by {tmp_path / 'vecnormalize.pkl'}.",)
    assert policy.name == tmp_path.name
    statistics = policy.normalize.obs_rms
    before = statistics.copy()
    kept = views.copy()
    np.testing.assert_allclose(policy.follow(views, starts)[0], plain, atol=1e-6)
    assert policy.normalize.obs_rms is statistics
    for name in ("mean", "var", "count"):
        np.testing.assert_array_equal(getattr(statistics, name), getattr(before, name))
    np.testing.assert_array_equal(views, kept)
    own = SB3ViewPolicy(model)
    assert own.notes == ("Views are normalised by the VecNormalize of the model's environment.",)
    np.testing.assert_allclose(own.follow(views, starts)[0], plain, atol=1e-6)
    without = SB3ViewPolicy.load(tmp_path, normalize=False)
    assert without.notes == ()
    assert np.abs(without.follow(views, starts)[0] - plain).max() > 1e-2


def same_after_copying(policy, folder):
    """Copies it twice, the second time from the copy, and compares the answers."""
    views, starts = rollout_of()
    wanted, _ = policy.follow(views, starts)
    for i in range(2):
        assert policy.copy_to(folder / f"copy-{i}")
        copied = SB3ViewPolicy.load(folder / f"copy-{i}")
        np.testing.assert_array_equal(copied.follow(views, starts)[0], wanted)
        assert copied.name == policy.name
        assert copied.copy_to(folder / f"copy-{i}"), "onto itself"
        policy = copied
    return wanted


@pytest.mark.parametrize(
    ("algorithm", "space", "given"),
    [
        (PPO, THREE, {"temperature": 0.1}),
        (DQN, THREE, {"temperature": 0.1}),
        (A2C, THREE, {"deterministic": True, "name": "sure"}),
        (SAC, BOX, {"deterministic": True, "noise": 0.3}),
        (TD3, BOX, {"noise": np.float32(0.3)}),
        (PPO, BOX, {}),
        (RecurrentPPO, THREE, {}),
    ],
)
def test_copy_answers_the_same(tmp_path, algorithm, space, given):
    stirred(model_of(algorithm, space)).save(tmp_path / "model")
    wanted = same_after_copying(SB3ViewPolicy.load(tmp_path / "model", **given), tmp_path)
    if given:
        plain, _ = SB3ViewPolicy.load(tmp_path / "model").follow(*rollout_of())
        assert np.abs(plain - wanted).max() > 1e-3, "the settings change the answers"


def test_copy_keeps_the_statistics_that_are_used_and_no_others(tmp_path):
    _, env = normalised_model(tmp_path)
    other = VecNormalize(DummyVecEnv([Noise]))
    other.obs_rms.mean = np.array([3.0, 0.0])
    answers = [
        same_after_copying(SB3ViewPolicy.load(tmp_path, normalize=normalize), tmp_path)
        for normalize in (None, env, other, False)  # each over the copy of the one before
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[1] - answers[2]).max() > 1e-2
    assert np.abs(answers[2] - answers[3]).max() > 1e-2
    again = SB3ViewPolicy.load(tmp_path / "copy-1", normalize=env, temperature=0.5, name="mine")
    assert (again.name, again.normalize) == ("mine", env)


def test_what_cannot_be_written_down_is_not_copied(tmp_path):
    masking = model_of(MaskablePPO)
    masking.save(tmp_path / "masking")
    assert not SB3ViewPolicy(masking).copy_to(tmp_path / "copy")
    policy = SB3ViewPolicy.load(tmp_path / "masking", action_masks=masked)
    assert not policy.copy_to(tmp_path / "copy")
    _, env = normalised_model(tmp_path)
    env.clip_obs = Unpickled(10.0)
    assert not SB3ViewPolicy.load(tmp_path, normalize=env).copy_to(tmp_path / "copy")
    policy = SB3ViewPolicy.load(tmp_path / "masking")
    model_of(A2C).save(tmp_path / "masking")  # over the zip: it holds another policy now
    assert not policy.copy_to(tmp_path / "copy")
    (tmp_path / "masking.zip").unlink()
    assert not policy.copy_to(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


class Unpickled(float):
    def __reduce__(self):
        raise TypeError("it cannot be pickled")


def test_damaged_settings_of_a_copy_are_refused(tmp_path):
    normalised_model(tmp_path)
    folder = tmp_path / "copy"
    SB3ViewPolicy.load(tmp_path).copy_to(folder)
    (folder / "vecnormalize.pkl").unlink()
    with pytest.raises(InvalidInputError, match="vecnormalize.pkl is not beside it"):
        SB3ViewPolicy.load(folder)
    for text, message in (("{", "cannot be read"), ('{"name": 3}', "must say name, deterministic")):
        (folder / "view_policy.json").write_text(text)
        with pytest.raises(InvalidInputError, match=message):
            SB3ViewPolicy.load(folder)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot be made"):
        SB3ViewPolicy.load(tmp_path).copy_to(tmp_path / "file" / "copy")


def test_statistics_of_rewards_alone_change_no_views(tmp_path):
    model, env = normalised_model(tmp_path)
    env.norm_obs = False
    env.save(tmp_path / "vecnormalize.pkl")
    for policy in (SB3ViewPolicy(model), SB3ViewPolicy.load(tmp_path)):
        assert policy.normalize is None
        assert policy.notes == ()


def test_statistics_that_do_not_fit_are_refused(tmp_path):
    _, env = normalised_model(tmp_path)
    other = model_of(PPO, view_space=spaces.Box(-1.0, 1.0, (3,)))
    with pytest.raises(InvalidInputError, match="normalize must be for views \\(3,\\)"):
        SB3ViewPolicy(other, normalize=env)
    with pytest.raises(InvalidInputError, match="normalize must be a VecNormalize"):
        SB3ViewPolicy(other, normalize="vecnormalize.pkl")
    (tmp_path / "vecnormalize.pkl").write_bytes(pickle.dumps({"mean": 0}))
    with pytest.raises(InvalidInputError, match="must hold a VecNormalize; received dict"):
        SB3ViewPolicy.load(tmp_path)
    (tmp_path / "vecnormalize.pkl").write_bytes(b"junk")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        SB3ViewPolicy.load(tmp_path)


def test_device_that_is_not_there_is_said(tmp_path):
    model_of(PPO).save(tmp_path / "a")
    assert SB3ViewPolicy.load(tmp_path / "a", device="auto").policy.device.type in ("cpu", "cuda")
    with pytest.raises(InvalidInputError, match="cannot be made"):
        SB3ViewPolicy.load(tmp_path / "a", device="abacus")


@pytest.mark.parametrize(
    ("algorithm", "space", "arguments", "message"),
    [
        (PPO, BOX, {"temperature": 0.5}, "are continuous: it has none"),
        (PPO, THREE, {"temperature": 0.5, "deterministic": True}, "Give up one"),
        (PPO, THREE, {"temperature": 0.0}, "temperature must be a positive number"),
        (PPO, BOX, {"noise": 0.5}, "has standard deviations of its own"),
        (DQN, THREE, {"noise": 0.5}, "or discrete actions"),
        (PPO, THREE, {"noise": 0.5, "deterministic": True}, "are discrete"),
        (TD3, BOX, {"noise": -1.0}, "noise must be a positive number"),
        (PPO, THREE, {"action_masks": masked}, "it is no MaskablePPO"),
    ],
)
def test_arguments_without_use_are_refused(algorithm, space, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        SB3ViewPolicy(model_of(algorithm, space), **arguments)


def test_models_of_other_kinds_are_refused():
    with pytest.raises(InvalidInputError, match="be an algorithm or policy of stable-baselines3"):
        SB3ViewPolicy(torch.nn.Linear(2, 2))
    with pytest.raises(InvalidInputError, match="must be Discrete or Box"):
        SB3ViewPolicy(model_of(PPO, spaces.MultiDiscrete([2, 2])))
    model = PPO("MultiInputPolicy", Noise(spaces.Dict({"a": VIEW})), device="cpu")
    with pytest.raises(InvalidInputError, match="be Box, Discrete, MultiDiscrete or MultiBinary"):
        SB3ViewPolicy(model)
    for part in (model_of(DQN).q_net, model_of(QRDQN).quantile_net, model_of(SAC, BOX).actor):
        with pytest.raises(InvalidInputError, match="be of PPO, A2C, TRPO"):
            SB3ViewPolicy(part)


def test_nan_weights_are_said_with_the_policys_name(tmp_path):
    model = linear_model()
    with torch.no_grad():
        model.policy.action_net.weight.fill_(float("nan"))
    model.policy.action_dist.proba_distribution = lambda action_logits: _unchecked(action_logits)
    with pytest.raises(InvalidInputError, match="answers of restricted policy 'broken'"):
        SB3ViewPolicy(model, name="broken").follow(*rollout_of())


def _unchecked(logits):
    """As torch does it under `python -O` and with `validate_args=False`."""
    inner = torch.distributions.Categorical(logits=logits, validate_args=False)
    return type("Unchecked", (), {"distribution": inner})


def test_as_view_policy_takes_models_policies_zips_and_folders(tmp_path):
    model = stirred(model_of(A2C))
    folder = tmp_path / "run-1"
    folder.mkdir()
    model.save(folder / "model.zip")
    views, starts = rollout_of()
    wanted, _ = SB3ViewPolicy(model).follow(views, starts)
    given = [model, model.policy, folder, str(folder), folder / "model.zip", str(folder / "model")]
    names = ["A2C", "ActorCriticPolicy", "run-1", "run-1", "run-1", "model"]
    for restricted in given:
        policy = as_view_policy(restricted, VIEW, THREE)
        np.testing.assert_allclose(policy.follow(views, starts)[0], wanted, atol=1e-7)
    found = [as_view_policy(restricted, VIEW, THREE).name for restricted in given]
    assert found[:5] == names[:5]
    assert found[5] == "run-1", "model.zip is named by its folder however it is written"


def test_model_for_another_view_is_refused_with_both_spaces(tmp_path):
    model_of(PPO).save(tmp_path / "model")
    full = spaces.Box(-1.0, 1.0, (4,))
    with pytest.raises(InvalidInputError) as error:
        as_view_policy(tmp_path, full, THREE)
    assert str(full) in str(error.value)
    assert str(VIEW) in str(error.value)
    model_of(SAC, BOX).save(tmp_path / "model")
    with pytest.raises(InvalidInputError, match="They must be the same"):
        as_view_policy(tmp_path, VIEW, spaces.Box(-1.0, 1.0, (2,)))


def test_agent_of_reinforce_is_refused(tmp_path):
    StatePolicy(np.full((4, 3), 1 / 3)).save(tmp_path / "model.zip")
    with pytest.raises(InvalidInputError, match="acts on the full state"):
        as_view_policy(tmp_path, VIEW, THREE)


def test_paths_without_a_zip_say_what_there_is(tmp_path):
    with pytest.raises(InvalidInputError, match="there is no file"):
        SB3ViewPolicy.load(tmp_path / "nothing")
    with pytest.raises(InvalidInputError, match="there is no model.zip in the folder"):
        SB3ViewPolicy.load(tmp_path)
    (tmp_path / "seed_3").mkdir()
    model_of(A2C).save(tmp_path / "seed_3" / "model")
    with pytest.raises(InvalidInputError, match="It holds seed_3/model.zip: give the path of one"):
        SB3ViewPolicy.load(tmp_path)


def test_damaged_and_foreign_zips_are_refused(tmp_path):
    path = tmp_path / "p.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(InvalidInputError, match="is no zip of stable-baselines3"):
        SB3ViewPolicy.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InvalidInputError, match="it holds readme.txt"):
        SB3ViewPolicy.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_kwargs": {}}))
        archive.writestr("policy.pth", b"")
    with pytest.raises(InvalidInputError, match="p.zip"):
        SB3ViewPolicy.load(path)


def rewritten(source, target, data=lambda d: d, weights=lambda b: b):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "data":
                content = json.dumps(data(json.loads(content)))
            new.writestr(member, weights(content) if member == "policy.pth" else content)


def test_what_the_policy_does_not_need_is_not_unpickled(tmp_path):
    model_of(PPO).save(tmp_path / "a.zip")

    def spoiled(data):
        data["lr_schedule"] = {":type:": "function", ":serialized:": "AAAA"}
        return data

    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", data=spoiled)
    assert SB3ViewPolicy.load(tmp_path / "b.zip").name == "b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: {k: v for k, v in d.items() if k != "action_space"},
            "action_space cannot be read",
        ),
        (lambda d: {**d, "policy_class": "MlpPolicy"}, "policy_class must be a policy"),
        (lambda d: {**d, "observation_space": "Box"}, "must be a space of Gymnasium"),
        (lambda d: {**d, "policy_kwargs": {"net_arch": [5]}}, "cannot be made: RuntimeError"),
    ],
)
def test_zips_whose_policy_cannot_be_made_say_why(tmp_path, change, message):
    model_of(PPO).save(tmp_path / "a.zip")
    rewritten(tmp_path / "a.zip", tmp_path / "b.zip", data=change)
    with pytest.raises(InvalidInputError) as error:
        SB3ViewPolicy.load(tmp_path / "b.zip")
    assert message in str(error.value)
    assert "b.zip" in str(error.value)


def test_missing_contrib_names_the_command_that_installs_it(tmp_path, monkeypatch):
    model_of(RecurrentPPO).save(tmp_path / "lstm")
    for name in [m for m in sys.modules if m.split(".")[0] == "sb3_contrib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(InvalidInputError, match="pip install sb3-contrib"):
        SB3ViewPolicy.load(tmp_path / "lstm")


def test_users_own_policy_class_is_loaded(tmp_path):
    class Mine(ActorCriticPolicy):
        pass

    model = stirred(PPO(Mine, Noise(), policy_kwargs=dict(SMALL), device="cpu"))
    model.save(tmp_path / "mine")
    views, starts = rollout_of()
    loaded = SB3ViewPolicy.load(tmp_path / "mine")
    wanted, _ = SB3ViewPolicy(model).follow(views, starts)
    np.testing.assert_array_equal(loaded.follow(views, starts)[0], wanted)


@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, RecurrentPPO], ids=lambda a: a.__name__)
def test_trained_model_is_read_like_a_fresh_one(algorithm, tmp_path):
    space = BOX if algorithm is SAC else THREE
    short = {"learning_starts": 10} if algorithm in (DQN, SAC) else {"n_steps": 16, "batch_size": 8}
    model = model_of(algorithm, space, **short)
    model.learn(48)
    model.save(tmp_path / "trained")
    views, starts = rollout_of()
    loaded, _ = SB3ViewPolicy.load(tmp_path / "trained").follow(views, starts)
    np.testing.assert_array_equal(loaded, SB3ViewPolicy(model).follow(views, starts)[0])


def test_modes_come_back_when_a_network_fails():
    model = model_of(PPO)
    model.policy.train()

    def fail(views):
        assert not model.policy.training
        raise ZeroDivisionError

    model.policy.get_distribution = fail
    with pytest.raises(ZeroDivisionError):
        SB3ViewPolicy(model).follow(*rollout_of())
    assert model.policy.training
    assert torch.is_grad_enabled()
