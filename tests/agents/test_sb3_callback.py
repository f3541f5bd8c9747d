"""`IMMCallback` in SB3's own algorithms: what it adds to a step, what it logs, when it lets go."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import imm_rl
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
from imm_rl.errors import RunFailedError

TAGS = {"loss", "lambda", "kl", "naive_kl", "agreement", "grad_cosine", "grad_share", "weight"}
SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu"}


@pytest.fixture(scope="module")
def grid():
    return imm_rl.make("grid(size=3)")


@pytest.fixture(scope="module")
def cartpole():
    return imm_rl.make("CartPole-v1", observe=[2, 3])


def lean(views):
    return (views.sum(axis=1) > 0).astype(int)


def column_policy(pair):
    """Sees the column x of the grid, and prefers other actions in other columns."""
    table = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.4, 0.1]])
    return MemorylessPolicy(table, pair.observation_beliefs)


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


def ppo(env, **arguments):
    given = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "seed": 5, **SMALL, **arguments}
    return PPO("MlpPolicy", env, **given)


def a2c(env, **arguments):
    return A2C("MlpPolicy", env, **{"seed": 5, **SMALL, **arguments})


def trained(make, env, callback, steps=400, **arguments):
    return make(env, **arguments).learn(steps, callback=callback)


@pytest.mark.parametrize("make", [ppo, a2c])
def test_weight_zero_is_bit_identical_to_sb3_alone_on_a_pair(make, grid):
    plain = trained(make, grid.sb3_vector(4), None)
    callback = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=0)
    assert torch.equal(parameters(plain), parameters(trained(make, grid.sb3_vector(4), callback)))
    other = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
    assert not torch.equal(parameters(plain), parameters(trained(make, grid.sb3_vector(4), other)))


@pytest.mark.parametrize("make", [ppo, a2c])
def test_weight_zero_is_bit_identical_with_hidden_features(make, cartpole):
    def env():
        return make_vec_env("CartPole-v1", 2, seed=1)

    plain = trained(make, env(), None)
    callback = imm_rl.IMMCallback(cartpole, lean, imm_lambda=0)
    assert torch.equal(parameters(plain), parameters(trained(make, env(), callback)))
    other = imm_rl.IMMCallback(cartpole, lean, imm_lambda=1)
    assert not torch.equal(parameters(plain), parameters(trained(make, env(), other)))


def test_weight_zero_draws_no_number_where_the_policy_has_dropout(grid):
    class Extractor(torch.nn.Module):
        latent_dim_pi = latent_dim_vf = 9

        def __init__(self):
            super().__init__()
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, features):
            return self.drop(features), self.drop(features)

        def forward_actor(self, features):
            return self.drop(features)

        forward_critic = forward_actor

    from stable_baselines3.common.policies import ActorCriticPolicy

    class Dropped(ActorCriticPolicy):
        def _build_mlp_extractor(self):
            self.mlp_extractor = Extractor()

    def run(callback):
        model = PPO(Dropped, grid.sb3_vector(4), n_steps=16, batch_size=32, seed=5, device="cpu")
        return parameters(model.learn(200, callback=callback))

    assert torch.equal(run(None), run(imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=0)))


def by_hand(policy, states, table, limit):
    """The gradient of the term at visited states of the 3×3 grid, written out, and clipped.

    State 3·x + y is seen as its column x, which stands for the three rows y evenly.
    """
    own = list(policy.parameters())
    probs = torch.softmax(policy.get_distribution(torch.arange(9)).distribution.logits, dim=-1)
    loss = 0.0
    for state in states:
        x = int(state) // 3
        induced = (probs[3 * x] + probs[3 * x + 1] + probs[3 * x + 2]) / 3.0
        loss = loss - (torch.tensor(table[x], dtype=torch.float32) * induced.log()).sum()
    found = torch.autograd.grad(loss / len(states), own, allow_unused=True)
    gradient = [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]
    norm = torch.sqrt(sum((g**2).sum() for g in gradient))
    return [g * min(1.0, limit / float(norm)) for g in gradient]


class Visited(BaseCallback):
    """Keeps the states of the only rollout, and the policy before its step."""

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.states = self.model.rollout_buffer.observations.astype(int).ravel()
        self.before = [p.detach().clone() for p in self.model.policy.parameters()]


@pytest.mark.parametrize("limit", [0.5, 0.01])
def test_step_differs_from_the_plain_one_by_the_gradient_of_the_term(grid, limit):
    """One step of SGD: with the term it goes λ · (step size) · (gradient by hand) further."""
    rate, weight, n_envs = 0.5, 0.7, 4
    once = {
        "n_steps": 8,
        "batch_size": 8 * n_envs,
        "n_epochs": 1,
        "learning_rate": rate,
        "max_grad_norm": limit,
        "policy_kwargs": {
            "net_arch": [16],
            "optimizer_class": torch.optim.SGD,
            "optimizer_kwargs": {},
        },
    }
    seen = Visited()
    restricted = column_policy(grid)
    plain = ppo(grid.sb3_vector(n_envs), **once).learn(32, callback=seen)
    callback = imm_rl.IMMCallback(
        grid, restricted, imm_lambda=weight, context_weight="uniform", refresh=1
    )
    matched = ppo(grid.sb3_vector(n_envs), **once).learn(32, callback=callback)

    start = ppo(grid.sb3_vector(n_envs), **once)
    for parameter, value in zip(start.policy.parameters(), seen.before, strict=True):
        parameter.data.copy_(value)
    wanted = by_hand(start.policy, seen.states, restricted.table, limit)
    further = [
        m.detach() - p.detach()
        for m, p in zip(matched.policy.parameters(), plain.policy.parameters(), strict=True)
    ]
    assert max(float(f.abs().max()) for f in further) > 1e-3 * limit
    for step, gradient in zip(further, wanted, strict=True):
        torch.testing.assert_close(step, -rate * weight * gradient, rtol=2e-3, atol=2e-6)


def counting(callback):
    """How often the term is computed."""
    calls = []
    renew = callback._gradient.renew
    callback._gradient.renew = lambda *given: (calls.append(1), renew(*given))[1]
    return calls


def test_gradient_is_held_for_the_steps_that_refresh_says(grid):
    for refresh, expected in ((1, 12), (4, 3), (100, 1)):
        callback = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1, refresh=refresh)
        calls = counting(callback)
        trained(ppo, grid.sb3_vector(4), callback, steps=64, batch_size=16, n_epochs=3)
        assert len(calls) == expected


class Logged(BaseCallback):
    """Every value of `imm/…` as it was recorded, with the step."""

    def _on_training_start(self):
        self.values = []
        logger = self.model.logger
        dump = Logger.dump

        def note(step=0):
            found = {k[4:]: v for k, v in logger.name_to_value.items() if k.startswith("imm/")}
            self.values.append((step, found))
            dump(logger, step)

        logger.dump = note

    def _on_step(self):
        return True

    def of(self, name):
        return [found[name] for _, found in self.values if name in found]


@pytest.mark.parametrize("weight", [0, 0.5])
def test_every_measure_is_logged_also_at_weight_zero(grid, weight):
    log = Logged()
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=weight)
    trained(ppo, grid.sb3_vector(4), [matching, log], steps=64 * 3, batch_size=8)
    found = log.values[-1][1]
    assert set(found) == TAGS
    assert found["lambda"] == weight
    assert 0.0 <= found["kl"] <= found["naive_kl"] + 1e-6
    assert found["grad_share"] == 0.0 if weight == 0 else 0.0 < found["grad_share"] < 1.0
    assert -1.0 <= found["grad_cosine"] <= 1.0
    assert found["weight"] == 1.0


def test_a2c_measures_now_and_then_and_still_fills_every_dump(grid):
    log = Logged()
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=0)
    calls = counting(matching)
    a2c(grid.sb3_vector(2)).learn(10 * 96, callback=[matching, log], log_interval=32)
    assert len(calls) == 96 // 16
    assert len(log.values) == 3
    assert all(set(found) == TAGS for _, found in log.values)


def test_weight_follows_the_progress_of_training(grid):
    log = Logged()
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda="linear:1->0@0.5")
    trained(ppo, grid.sb3_vector(4), [matching, log], steps=640, batch_size=8)
    # One dump a rollout, 10 rollouts, the training on the last one after the last dump. The update on
    # rollout i is at progress i / 10.
    np.testing.assert_allclose(log.of("lambda"), [max(0.0, 1 - 0.2 * i) for i in range(9)])


def test_total_timesteps_spreads_the_schedule_over_several_calls_of_learn(grid):
    log = Logged()
    matching = imm_rl.IMMCallback(
        grid, column_policy(grid), imm_lambda="linear:1->0@0.5", total_timesteps=640
    )
    model = ppo(grid.sb3_vector(4), batch_size=8)
    seen = []
    for _ in range(5):
        model.learn(128, callback=[matching, log], reset_num_timesteps=False)
        seen += [model.logger.name_to_value["imm/lambda"]]
    np.testing.assert_allclose(seen, [0.8, 0.4, 0.0, 0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("schedule", ["target-kl:0.05", "aligned:1", "paper", "exp:1,half=0.1"])
def test_every_kind_of_schedule_trains(grid, schedule):
    log = Logged()
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=schedule)
    trained(ppo, grid.sb3_vector(4), [matching, log], steps=640)
    assert np.isfinite(log.of("lambda")).all()
    assert max(log.of("lambda")) > 0


def test_target_kl_schedule_drives_the_distance_down(grid):
    def last_kl(weight):
        log = Logged()
        matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=weight)
        trained(ppo, grid.sb3_vector(4), [matching, log], steps=64 * 20, learning_rate=1e-2)
        return np.mean(log.of("kl")[-5:])

    assert last_kl("target-kl:0.01") < 0.5 * last_kl(0)


def test_plain_training_after_a_stopped_one_is_not_matched(grid):
    class Stop(BaseCallback):
        def _on_step(self):
            return True

        def _on_training_start(self):
            step = self.model.policy.optimizer.step

            def interrupted(*args):
                self.model.policy.optimizer.step = step
                raise KeyboardInterrupt

            self.model.policy.optimizer.step = interrupted

    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
    calls = counting(matching)
    model = ppo(grid.sb3_vector(4))
    with pytest.raises(KeyboardInterrupt):
        model.learn(256, callback=[Stop(), matching])
    before = len(calls)
    model.learn(256)
    assert len(calls) == before
    assert not model.policy.optimizer._optimizer_step_pre_hooks


def test_hook_is_gone_after_learn(grid):
    model = trained(ppo, grid.sb3_vector(4), imm_rl.IMMCallback(grid, column_policy(grid)))
    assert not model.policy.optimizer._optimizer_step_pre_hooks


def test_callback_serves_other_numbers_of_environments_in_turn(grid):
    matching = imm_rl.IMMCallback(grid, "pomdp", imm_lambda=1)
    for n in (4, 2):
        trained(ppo, grid.sb3_vector(n), matching, steps=128)


def test_training_is_repeatable_with_the_same_callback(grid):
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
    one, two = (parameters(trained(ppo, grid.sb3_vector(4), matching)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("make", [ppo, a2c])
@pytest.mark.parametrize("kind", ["belief", "view"])
def test_state_goes_on_where_it_was(kind, make, grid, cartpole):
    """Another callback with the state of the first goes on as if it were the first."""
    tiger = imm_rl.make("tiger")

    def callback():
        if kind == "belief":
            return imm_rl.IMMCallback(tiger, "qmdp", imm_lambda=0.5, context_weight="uniform")
        return imm_rl.IMMCallback(cartpole, lean, imm_lambda=0.5)

    def run(resume):
        env = tiger.sb3_vector(4) if kind == "belief" else make_vec_env("CartPole-v1", 4, seed=2)
        matching = callback()
        model = make(env, n_steps=16)
        model.learn(128, callback=matching)
        if resume:
            state, matching = matching.state(), callback()
            matching.restore(state)
        return parameters(model.learn(128, callback=matching, reset_num_timesteps=False))

    assert torch.equal(run(resume=False), run(resume=True))


class Stop(BaseCallback):
    """Ends `learn` within a rollout."""

    def _on_step(self):
        return self.n_calls % 21 != 0


@pytest.mark.parametrize("name", ["cheese", "4x4"])
@pytest.mark.parametrize("gap", ["stopped within a rollout", "trained without the callback"])
def test_episodes_whose_beginning_was_not_followed_are_left_out(name, gap):
    """No belief is carried over what was not seen: the filter would call it impossible."""
    pair = imm_rl.make(name, max_steps=11)
    matching = imm_rl.IMMCallback(pair, "qmdp", imm_lambda=1, context_weight="uniform")
    model = ppo(pair.sb3_vector(4))
    for seed in range(4):
        model.learn(128, callback=matching, reset_num_timesteps=False)
        between = [matching, Stop()] if gap.startswith("stopped") else None
        model.learn(128 + seed, callback=between, reset_num_timesteps=False)
    model.learn(128, callback=matching, reset_num_timesteps=False)
    contexts = matching._matcher._contexts
    starts = np.isclose(contexts.beliefs, pair.model.initial).all(axis=-1)
    assert contexts.weights.size
    assert not starts.all()


def test_state_of_other_numbers_of_environments_is_taken_as_far_as_it_goes():
    pair = imm_rl.make("tiger")
    first = imm_rl.IMMCallback(pair, "qmdp", imm_lambda=1, context_weight="uniform")
    trained(ppo, pair.sb3_vector(4), first, steps=128)
    second = imm_rl.IMMCallback(pair, "qmdp", imm_lambda=1, context_weight="uniform")
    second.restore(first.state())
    trained(ppo, pair.sb3_vector(2), second, steps=128)


def test_gradient_that_is_not_finite_ends_the_training_with_one_error(grid):
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
    model = ppo(grid.sb3_vector(4))

    class Break(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            term = matching._matcher.term
            matching._matcher.term = lambda *given: (
                lambda t: t._replace(loss=t.loss * float("inf"))
            )(term(*given))

    with pytest.raises(RunFailedError, match="gradient of the matching term is not finite"):
        model.learn(256, callback=[matching, Break()])


def test_vec_normalize_of_hidden_features_shows_the_restricted_policy_plain_views(cartpole):
    views = []

    def noting(seen):
        views.append(seen)
        return lean(seen)

    env = VecNormalize(make_vec_env("CartPole-v1", 2, seed=1))
    trained(ppo, env, imm_rl.IMMCallback(cartpole, noting, imm_lambda=1))
    angles = np.concatenate(views)[:, 0]
    assert (
        np.abs(angles).max() < 0.25
    )  # radians; an episode ends at 0.21, normalised ones go beyond 1


def test_one_hot_observations_are_matched_like_numbers(grid):
    """The same states, the same contexts; only the form of the observation differs."""

    def one_hot():
        return gymnasium.wrappers.FlattenObservation(grid.mdp())

    def run(make_one):
        env = DummyVecEnv([make_one] * 4)
        env.seed(3)
        matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
        return parameters(trained(ppo, env, matching, seed=4))

    torch.testing.assert_close(run(one_hot), run(grid.mdp), rtol=1e-4, atol=1e-5)


def test_normalised_one_hot_observations_are_decoded(grid):
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.wrappers.FlattenObservation(grid.mdp())] * 4))
    log = Logged()
    matching = imm_rl.IMMCallback(grid, column_policy(grid), imm_lambda=1)
    trained(ppo, env, [matching, log], steps=64 * 20, learning_rate=1e-2)
    assert log.of("kl")[-1] < 0.5 * log.of("kl")[0]


def test_matching_pulls_the_induced_policy_towards_the_restricted_one(grid, cartpole):
    for env, seen, policy in (
        (grid.sb3_vector(4), grid, column_policy(grid)),
        (make_vec_env("CartPole-v1", 4, seed=0), cartpole, lean),
    ):
        ends = {}
        for weight in (0, 1):
            log = Logged()
            matching = imm_rl.IMMCallback(seen, policy, imm_lambda=weight)
            trained(ppo, env, [matching, log], steps=64 * 20, learning_rate=3e-3)
            ends[weight] = np.mean(log.of("kl")[-3:])
        assert ends[1] < 0.75 * ends[0]


def test_target_kl_of_the_algorithm_is_warned_of(grid):
    with pytest.warns(UserWarning, match="target_kl is 0.01"):
        trained(ppo, grid.sb3_vector(4), imm_rl.IMMCallback(grid), steps=64, target_kl=0.01)
