import io

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

import imm_rl
from imm_rl.agents import view_matcher
from imm_rl.agents.neighbours import Equal, Nearest
from imm_rl.agents.restricted.view_policy import FunctionPolicy, as_view_policy
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.agents.sb3_rollout import RolloutReader, Steps
from imm_rl.agents.view_matcher import ViewMatcher
from imm_rl.envs.features import Features
from imm_rl.errors import InvalidInputError

FULL = spaces.Box(-4.0, 4.0, (3,), dtype=np.float32)
TWO = spaces.Discrete(2)
LINE = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
NAMED = spaces.Dict(hidden=spaces.Box(-4.0, 4.0, (2,), dtype=np.float32), lamp=spaces.Discrete(3))
T, E = 5, 2


class Drawn(gymnasium.Env):
    """Observations drawn from the space; episodes of four steps."""

    def __init__(self, space=FULL, actions=TWO):
        self.observation_space, self.action_space, self.t = space, actions, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), float(np.sum(action)), self.t == 4, False, {}


def model_of(algorithm=A2C, space=FULL, actions=TWO, **arguments):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    arguments = {"seed": 2, "device": "cpu", "policy_kwargs": {"net_arch": [8]}, **arguments}
    model = algorithm(policy, Drawn(space, actions), **arguments)
    with torch.no_grad():  # a fresh policy acts nearly the same everywhere
        for parameter in model.policy.action_net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


@pytest.fixture(scope="module")
def model():
    return model_of()


def steps_of(seed, n_steps=T, starts=None, masks=None, decimals=None):
    rng = np.random.default_rng(seed)
    observations = rng.uniform(-4, 4, (n_steps + 1, E, 3)).astype(np.float32)
    if decimals is not None:
        observations[..., 0] = observations[..., 0].round(decimals)
    if starts is None:
        starts = np.zeros((n_steps, E), dtype=bool)
    return Steps(
        observations[:-1],
        np.zeros((n_steps, E, 1)),
        starts,
        observations[-1],
        np.zeros(E, dtype=bool),
        masks,
    )


def by_first(views):
    p = 1.0 / (1.0 + np.exp(-views[:, 0].astype(np.float64)))
    return np.stack([1.0 - p, p], axis=1)


def normal(views):
    views = views[:, :1].astype(np.float64)
    return np.concatenate([np.tanh(views), np.tanh(-views)], axis=1), np.array([0.3, 0.5])


def matcher_of(completions=None, policy=None, *, actions=TWO, observe=(0,), batch_size=64, seed=4):
    features = Features(FULL, list(observe))
    if policy is None:
        policy = FunctionPolicy(by_first if actions == TWO else normal, features.space, actions)
    completions = Nearest(4) if completions is None else completions
    return ViewMatcher(
        features,
        policy,
        completions,
        action_space=actions,
        batch_size=batch_size,
        n_envs=E,
        seed=seed,
    )


def probs_at(model, observations):
    with torch.no_grad():
        tensor = torch.as_tensor(np.asarray(observations, dtype=np.float32)).reshape(-1, 3)
        probs = model.policy.get_distribution(tensor).distribution.probs
    return probs.double().numpy().reshape(*np.shape(observations)[:-1], 2)


def loss_of(term):
    return float(term.loss.detach())


class Remembering:
    """Acts by the first thing that it saw in an episode."""

    name, remembers = "remembering", True

    def __init__(self, view_space):
        self.view_space, self.action_space = view_space, TWO

    def follow(self, views, starts, memory=None):
        kept = np.zeros(starts.shape[1]) if memory is None else memory.copy()
        answers = []
        for view, start in zip(views, starts, strict=True):
            kept = np.where(start, view[:, 0], kept)
            answers.append(by_first(kept[:, None]))
        return np.stack(answers), kept


def test_term_is_the_formula_over_the_nearest_states(model):
    matcher, steps = matcher_of(Nearest(3)), steps_of(0)
    assert not matcher.ready
    matcher.follow(steps, continues=True)
    assert matcher.ready
    assert matcher.weight == 1.0
    rows = steps.observations.reshape(-1, 3)
    near = np.abs(rows[:, None, 0] - rows[None, :, 0]).argsort(axis=1)[:, :3]
    induced = probs_at(model, rows)[near].mean(axis=1)
    loss = -(by_first(rows) * np.log(induced)).sum(axis=1).mean()
    term = matcher.term(model.policy, RolloutReader(model))
    assert loss_of(term) == pytest.approx(loss, rel=1e-5)


def test_term_is_of_at_most_batch_size_states_and_of_others_each_time(model):
    matcher = matcher_of(batch_size=4)
    matcher.follow(steps_of(0, n_steps=20), continues=True)
    losses = {loss_of(matcher.term(model.policy, RolloutReader(model))) for _ in range(8)}
    assert len(losses) == 8


def test_term_draws_no_shared_random_number_and_leaves_gradients_alone(model):
    matcher = matcher_of()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    matcher.follow(steps_of(0), continues=True)
    matcher.term(model.policy, RolloutReader(model))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert all(p.grad is None for p in model.policy.parameters())


def test_follow_remembers_the_last_states_of_short_rollouts(monkeypatch):
    monkeypatch.setattr(view_matcher, "MEMORY", 24)
    matcher, rollouts = matcher_of(), [steps_of(seed) for seed in range(4)]
    for i, steps in enumerate(rollouts):
        matcher.follow(steps, continues=True)
        met = np.concatenate([s.observations.reshape(-1, 3) for s in rollouts[: i + 1]])[-24:]
        state = matcher.state()
        np.testing.assert_array_equal(state["observations/"], met)
        np.testing.assert_array_equal(state["views"], met[:, :1])
        np.testing.assert_allclose(state["answers"], by_first(met), rtol=1e-12)
    long = steps_of(9, n_steps=20)
    matcher.follow(long, continues=True)  # longer than the memory: all of it
    np.testing.assert_array_equal(
        matcher.state()["observations/"], long.observations.reshape(-1, 3)
    )


def test_short_rollouts_of_a2c_are_remembered_in_training():
    model = A2C("MlpPolicy", Drawn(), seed=0, device="cpu")
    callback = IMMCallback(model.get_env(), lambda views: by_first(views), observe=[0])
    model.learn(60, callback=callback)
    assert callback.state()["matcher/views"].shape == (60, 1)


def test_dict_observations_are_matched_key_by_key():
    model = model_of(PPO, NAMED, n_steps=16, batch_size=16, n_epochs=2)

    def lamp(observations):
        return observations["lamp"].reshape(-1, 1)

    def restricted(views):
        return np.where(views == 0, [[0.9, 0.1]], [[0.2, 0.8]])

    callback = IMMCallback(model.get_env(), restricted, 1.0, observe=lamp)
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(32, callback=callback)
    state = callback.state()
    assert state["matcher/observations/hidden"].shape == (32, 2)
    np.testing.assert_array_equal(state["matcher/observations/lamp"], state["matcher/views"][:, 0])
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True)
    )
    again = model_of(PPO, NAMED, n_steps=16, batch_size=16, n_epochs=2)
    resumed = IMMCallback(again.get_env(), restricted, 1.0, observe=lamp)
    resumed.restore(state)
    again.learn(16, callback=resumed)
    assert resumed.state()["matcher/observations/hidden"].shape == (48, 2)


def hidden_grid(views, rng):
    """What is not seen is one of four pairs."""
    rest = np.array([[-3.0, 1.0], [2.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    full = np.concatenate(
        [np.repeat(views[:, None], 4, axis=1), np.tile(rest, (len(views), 1, 1))], axis=2
    )
    views[:] = np.nan  # its own to write into
    return full


def test_a_sampler_completes_views_with_what_it_gives(model):
    matcher, steps = matcher_of(hidden_grid), steps_of(0)
    matcher.follow(steps, continues=True)
    rows = steps.observations.reshape(-1, 3)
    full = hidden_grid(rows[:, :1].copy(), None)
    induced = probs_at(model, full).mean(axis=1)
    loss = -(by_first(rows) * np.log(induced)).sum(axis=1).mean()
    for _ in range(2):
        term = matcher.term(model.policy, RolloutReader(model))
        assert loss_of(term) == pytest.approx(loss, rel=1e-5)


def test_a_sampler_draws_from_the_generator_that_it_is_given(model):
    def noisy(views, rng):
        return np.concatenate(
            [np.repeat(views[:, None], 2, axis=1), rng.uniform(-4, 4, (len(views), 2, 2))], axis=2
        )

    losses = []
    for seed in (4, 4, 5):
        matcher = matcher_of(noisy, seed=seed)
        matcher.follow(steps_of(0), continues=True)
        losses.append(loss_of(matcher.term(model.policy, RolloutReader(model))))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda v, rng: v, r"must have the shape \(N, 3\); received \(10,\)"),
        (lambda v, rng: np.zeros((10, 3)), r"must have the shape \(N, 3\); received \(30,\)"),
        (
            lambda v, rng: np.zeros((3, 10, 3)),
            r"of shape \(10, K, \.\.\.\); received \[\(3, 10, 3\)",
        ),
        (lambda v, rng: np.zeros((10, 0, 3)), r"of shape \(10, K, \.\.\.\)"),
        (lambda v, rng: np.zeros((10, 4, 2)), r"must have the shape \(N, 3\); received \(40, 2\)"),
        (lambda v, rng: np.zeros(10), r"of shape \(10, K, \.\.\.\)"),
        (lambda v, rng: [[0.0]] * 9 + [[0.0, 1.0]], r"of shape \(10, K, \.\.\.\)"),
        (lambda v, rng: None, r"of shape \(10, K, \.\.\.\)"),
        (lambda v, rng: {"a": np.zeros((10, 4, 3))}, "be an array of numbers"),
        (lambda v, rng: np.full((10, 4, 3), "x"), "be an array of numbers"),
        (lambda v, rng: np.full((10, 4, 3), np.nan), "be finite"),
        (lambda v, rng: np.full((10, 4, 3), np.inf), "be finite"),
    ],
    ids=[
        "view",
        "flat",
        "turned",
        "none",
        "width",
        "vector",
        "ragged",
        "nothing",
        "dict",
        "text",
        "nan",
        "inf",
    ],
)
def test_a_sampler_is_refused_where_it_gives_no_full_observations(model, answer, message):
    matcher = matcher_of(answer)
    matcher.follow(steps_of(0), continues=True)
    with pytest.raises(InvalidInputError, match=message):
        matcher.term(model.policy, RolloutReader(model))


def test_a_sampler_of_dict_observations_gives_every_key():
    features = Features(NAMED, lambda x: x["lamp"].reshape(-1, 1))
    policy = FunctionPolicy(lambda views: np.full((len(views), 2), 0.5), features.space, TWO)
    model = model_of(space=NAMED)
    shape = (T, E)
    steps = steps_of(0)._replace(
        observations={
            "hidden": np.zeros((*shape, 2), np.float32),
            "lamp": np.ones(shape, np.int64),
        },
    )

    def term(drawn):
        matcher = ViewMatcher(
            features,
            policy,
            lambda v, rng: drawn,
            action_space=TWO,
            batch_size=99,
            n_envs=E,
            seed=0,
        )
        matcher.follow(steps, continues=True)
        return matcher.term(model.policy, RolloutReader(model))

    hidden, lamp = np.zeros((10, 3, 2)), np.ones((10, 3), int)
    assert loss_of(term({"hidden": hidden, "lamp": lamp})) > 0.0
    with pytest.raises(InvalidInputError, match=r"dict with the keys \['hidden', 'lamp'\]"):
        term({"hidden": hidden})
    with pytest.raises(InvalidInputError, match=r"received \[\(10, 3, 2\), \(10, 2\)\]"):
        term({"hidden": hidden, "lamp": lamp[:, :2]})
    with pytest.raises(InvalidInputError, match="be whole numbers"):
        term({"hidden": hidden, "lamp": lamp + 0.5})


def test_a_sampler_is_refused_where_actions_are_masked(model):
    allowed = np.ones((T, E, 2), dtype=bool)
    matcher = matcher_of(hidden_grid)
    matcher.follow(steps_of(0, masks=allowed), continues=True)
    assert matcher.term(model.policy, RolloutReader(model)) is not None
    allowed[2, 1, 0] = False
    with pytest.raises(InvalidInputError, match="which actions are allowed .* is not known"):
        matcher.follow(steps_of(1, masks=allowed), continues=True)


def test_masks_go_with_the_states_that_they_were_met_at():
    model = model_of(MaskablePPO)
    masks = np.zeros((T, E, 2), dtype=bool)
    masks.reshape(-1, 2)[np.arange(T * E), np.arange(T * E) % 2] = True
    masks[2:4] = True
    matcher, steps = matcher_of(Nearest(3), batch_size=6), steps_of(0, masks=masks)
    matcher.follow(steps_of(1, masks=np.ones((T, E, 2), dtype=bool)), continues=True)
    matcher.follow(steps, continues=True)
    state = matcher.state()
    np.testing.assert_array_equal(state["masks"][T * E :], masks.reshape(-1, 2))
    matcher = matcher_of(Nearest(3))
    matcher.follow(steps, continues=True)
    rows, allowed = steps.observations.reshape(-1, 3), masks.reshape(-1, 2)
    near = np.abs(rows[:, None, 0] - rows[None, :, 0]).argsort(axis=1)[:, :3]
    q = probs_at(model, rows) * allowed
    q /= q.sum(axis=1, keepdims=True)
    targets = by_first(rows) * allowed[near].any(axis=1)
    targets /= targets.sum(axis=1, keepdims=True)
    some = targets > 0
    assert not some.all()
    loss = -(targets * np.log(np.where(some, q[near].mean(axis=1), 1.0))).sum(axis=1).mean()
    term = matcher.term(model.policy, RolloutReader(model))
    assert loss_of(term) == pytest.approx(loss, rel=1e-5)


def test_a_policy_that_remembers_is_matched_among_states_of_near_views_and_answers(model):
    features = Features(FULL, [0])
    matcher = matcher_of(Nearest(2), Remembering(features.space))
    starts = np.zeros((8, E), dtype=bool)
    starts[0] = True
    steps = steps_of(0, n_steps=8, starts=starts)
    steps.observations[0, :, 0] = [3.0, -3.0]
    steps.observations[1:, :, 0] *= 0.01
    matcher.follow(steps, continues=True)
    term = matcher.term(model.policy, RolloutReader(model))
    rows = steps.observations.reshape(-1, 3)
    answers = np.tile(by_first(np.array([[3.0], [-3.0]])), (8, 1))
    keys = np.concatenate([rows[:, :1].astype(np.float64), answers], axis=1)
    keys /= keys.std(axis=0)
    near = np.linalg.norm(keys[:, None] - keys, axis=2).argsort(axis=1)[:, :2]
    assert (near % E == near[:, :1] % E).all()  # of the same memory, whatever the view
    induced = probs_at(model, rows)[near].mean(axis=1)
    loss = -(answers * np.log(induced)).sum(axis=1).mean()
    assert loss_of(term) == pytest.approx(loss, rel=1e-5)


def test_a_policy_that_remembers_goes_on_over_rollout_ends_and_begins_anew_at_starts():
    features = Features(FULL, [0])
    matcher = matcher_of(policy=Remembering(features.space))
    first = steps_of(0, starts=np.array([[True] * E] + [[False] * E] * (T - 1)))
    matcher.follow(first, continues=True)
    matcher.follow(
        steps_of(1)._replace(next_starts=np.array([True, False])),  # the first one's episode ends
        continues=True,
    )
    goes_on = matcher.state()["answers"][-T * E :]
    begun = np.tile(by_first(first.observations[0]), (T, 1))
    np.testing.assert_allclose(goes_on, begun)
    again = steps_of(2, starts=np.array([[True, False]] + [[False] * E] * (T - 1)))
    matcher.follow(again, continues=True)
    answers = matcher.state()["answers"][-T * E :].reshape(T, E, 2)
    np.testing.assert_allclose(answers[:, 0], np.tile(by_first(again.observations[0])[:1], (T, 1)))
    np.testing.assert_allclose(answers[:, 1], begun[1::2])


def test_a_policy_that_remembers_is_not_matched_in_episodes_whose_beginning_it_did_not_see():
    features = Features(FULL, [0])
    matcher = matcher_of(policy=Remembering(features.space))
    matcher.follow(steps_of(0, starts=np.ones((T, E), dtype=bool)), continues=True)
    kept = len(matcher.state()["answers"])
    matcher.follow(steps_of(1), continues=False)  # what came before it was not followed
    assert len(matcher.state()["answers"]) == kept
    starts = np.zeros((T, E), dtype=bool)
    starts[2, 0] = True
    matcher.follow(steps_of(2, starts=starts), continues=True)
    assert len(matcher.state()["answers"]) == kept + T - 2  # of the first copy, from its start on


def test_a_policy_that_remembers_is_refused_with_equal_completions():
    features = Features(FULL, [0])
    with pytest.raises(
        InvalidInputError, match="'remembering' remembers.*Set completions to 'near"
    ):
        matcher_of(Equal(), Remembering(features.space))


def test_equal_completions_are_states_of_the_same_view(model):
    matcher, steps = matcher_of(Equal()), steps_of(0, n_steps=10)
    steps.observations[..., 0] = np.arange(20).reshape(10, 2) % 3
    matcher.follow(steps, continues=True)
    rows = steps.observations.reshape(-1, 3)
    q = probs_at(model, rows)
    induced = np.stack([q[rows[:, 0] == view].mean(axis=0) for view in rows[:, 0]])
    loss = -(by_first(rows) * np.log(induced)).sum(axis=1).mean()
    assert loss_of(matcher.term(model.policy, RolloutReader(model))) == pytest.approx(
        loss, rel=1e-5
    )


class Starts(BaseCallback):
    """Notes down where episodes started."""

    def __init__(self):
        super().__init__()
        self.met = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.met.append(self.model.rollout_buffer.episode_starts.astype(bool))


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    pair = imm_rl.make("CartPole-v1", observe=[0, 2])
    path = tmp_path_factory.mktemp("restricted") / "recurrent.zip"
    small = {"net_arch": [4], "lstm_hidden_size": 4}
    RecurrentPPO(
        "MlpLstmPolicy", pair.sb3_vector(1, view="pomdp"), policy_kwargs=small, device="cpu", seed=0
    ).save(path)
    return pair, path


def test_a_recurrent_policys_answers_stand_beside_the_views_and_its_memory_is_saved(recurrent):
    pair, path = recurrent
    model = PPO("MlpPolicy", pair.sb3_vector(3), n_steps=16, batch_size=48, device="cpu", seed=0)
    callback, starts = IMMCallback(pair, str(path)), Starts()
    model.learn(96, callback=[callback, starts])
    state = callback.state()
    assert state["matcher/memory"].shape == (2, 1, 3, 4)
    along = np.concatenate(starts.met)
    assert 3 < along.sum() < 20
    # What it answers over both rollouts is what it answers by itself.
    policy = as_view_policy(str(path), pair.features.space, TWO)
    alone, memory = policy.follow(state["matcher/views"].reshape(32, 3, 2), along)
    answers = state["matcher/answers"].reshape(32, 3, 2)
    np.testing.assert_allclose(answers, alone, rtol=1e-6)
    np.testing.assert_allclose(state["matcher/memory"], memory, rtol=1e-4, atol=1e-7)


def test_learning_anew_starts_episodes_in_a_recurrent_policys_memory(recurrent):
    pair, path = recurrent
    policy = as_view_policy(str(path), pair.features.space, TWO)
    model = PPO("MlpPolicy", pair.sb3_vector(2), n_steps=8, batch_size=16, device="cpu", seed=0)
    callback = IMMCallback(pair, policy)
    for _ in range(2):  # the second resets the environments
        model.learn(16, callback=callback)
        state = callback.state()
        views = state["matcher/views"][-16:].reshape(8, 2, 2)
        starts = np.zeros((8, 2), dtype=bool)
        starts[0] = True
        alone, _ = policy.follow(views, starts)
        np.testing.assert_allclose(
            state["matcher/answers"][-16:].reshape(8, 2, 2), alone, rtol=1e-6
        )


@pytest.mark.parametrize("kind", ["discrete", "continuous", "sampler", "remembering"])
def test_restore_gives_the_same_next_terms_exactly(kind):
    actions = LINE if kind == "continuous" else TWO
    model = model_of(actions=actions)
    reader = RolloutReader(model)

    def made(seed):
        space = Features(FULL, [0]).space
        policy = Remembering(space) if kind == "remembering" else None
        completions = hidden_grid if kind == "sampler" else None
        return matcher_of(completions, policy, actions=actions, batch_size=6, seed=seed)

    first = made(seed=4)
    begun = np.array([[True] * E] + [[False] * E] * (T - 1))
    for i in range(3):
        first.follow(steps_of(i, starts=begun if i == 0 else None), continues=True)
        first.term(model.policy, reader)
    file = io.BytesIO()
    np.savez(file, **first.state())
    file.seek(0)
    second = made(seed=5)
    with np.load(file, allow_pickle=False) as arrays:
        second.restore(dict(arrays))
    for i in range(3):
        both = [matcher.term(model.policy, reader) for matcher in (first, second)]
        assert loss_of(both[0]) == loss_of(both[1])
        first.follow(steps_of(10 + i), continues=True)
        second.follow(steps_of(10 + i), continues=True)
    states = first.state(), second.state()
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])


def test_restore_of_a_matcher_that_has_followed_nothing(model):
    first, second = matcher_of(seed=4), matcher_of(seed=5)
    second.restore(first.state())
    assert not second.ready
    for matcher in (first, second):
        matcher.follow(steps_of(0), continues=True)
    terms = [m.term(model.policy, RolloutReader(model)) for m in (first, second)]
    assert loss_of(terms[0]) == loss_of(terms[1])
