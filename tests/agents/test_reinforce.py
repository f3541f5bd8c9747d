"""IMMReinforce: its gradient against finite differences, its invariances, and that it learns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents import paper
from imm_rl.agents.evaluation import exact_returns, oracle_return
from imm_rl.agents.matching_term import MatchingTerm
from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.agents.rollout import action_cdf
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.agents.solve import solve
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.agents.streams import PURPOSES, SeedStreams, generator
from imm_rl.errors import DivergedError, InvalidInputError, RunFailedError


def make(
    env: str = "tiger", restricted: Any = "fib", weight: Any = None, **options: Any
) -> IMMReinforce:
    seeds = options.pop("seeds", (0, 1))
    settings = ReinforceSettings().replaced(eval_episodes=4, eval_points=4, **options)
    return IMMReinforce(
        imm_rl.make(env), restricted, weight, seeds=seeds, settings=settings, device="cpu"
    )


def parameters(agent: IMMReinforce) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in agent.policy.parameters()]


def assert_same(one: IMMReinforce, other: IMMReinforce) -> None:
    for mine, theirs in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_policy_gradient_is_the_hand_written_sum_over_the_batch() -> None:
    agent = make("tiger", None, entropy_coef=0.1)
    log_probs = torch.log_softmax(agent.policy(), dim=-1)
    probs = log_probs.detach().exp().numpy().astype(np.float64)
    rollout = agent.rollouts.collect(action_cdf(probs), agent.n_steps)
    before = agent.advantages.state()
    advantages = agent.advantages(rollout)
    agent.advantages.restore(before)
    found = torch.autograd.grad(agent._policy_loss(log_probs, rollout).sum(), log_probs)[0].numpy()
    expected = np.zeros((2, 2, 3))
    for t in range(agent.n_steps):
        for run in range(2):
            s, a = rollout.states[t, run], rollout.actions[t, run]
            expected[run, s, a] -= advantages[t, run] / agent.n_steps
            # The bonus −c·H, differentiated with π and log π both depending on log π.
            expected[run, s] += 0.1 * (probs[run, s] * (np.log(probs[run, s]) + 1)) / agent.n_steps
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_update_adds_lambda_times_the_matching_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: dict[float, list[np.ndarray]] = {}
    for weight in (0.0, 0.5, 1.0):
        agent = make("cheese", "qmdp", weight, seeds=(3,))

        def keep(agent: IMMReinforce = agent, weight: float = weight) -> None:
            steps[weight] = [p.grad.numpy().copy() for p in agent.policy.parameters()]

        monkeypatch.setattr(agent.optimizer, "step", keep)
        agent.learn(50)
    for plain, half, full in zip(*steps.values(), strict=True):
        # The same rollout, so gradients are affine in λ; and the term does something.
        np.testing.assert_allclose(half - plain, 0.5 * (full - plain), atol=2e-7)
    assert (
        max(np.abs(full - plain).max() for plain, full in zip(steps[0.0], steps[1.0], strict=True))
        > 1e-3
    )


def test_matching_gradient_moves_the_induced_policy_towards_the_restricted_one() -> None:
    agent = make("cheese", "qmdp", 1.0, seeds=(0,), learning_rate=4e-3)
    agent._policy_loss = lambda log_probs, _: (0.0 * log_probs).sum(dim=(1, 2))  # type: ignore[method-assign]
    agent.learn(50 * 100)
    kl = [r.measures["imm/kl"][0] for r in agent.records]
    assert kl[-1] < 0.5 * kl[0]
    assert kl == sorted(kl, reverse=True)


@pytest.mark.parametrize("env", ["tiger", "grid(size=3)"])
def test_lambda_0_is_bit_for_bit_plain_reinforce(env: str) -> None:
    plain, zero = make(env, None), make(env, "fib", 0.0)
    for agent in (plain, zero):
        agent.learn(50 * 40)
    assert_same(plain, zero)
    for mine, theirs in zip(plain.records, zero.records, strict=True):
        np.testing.assert_array_equal(mine.returns, theirs.returns)


def test_lambda_0_beside_other_weights_is_bit_for_bit_plain_reinforce() -> None:
    plain, mixed = make("cheese", None), make("cheese", "qmdp", [0.5, 0.0, "aligned:1"])
    for agent in (plain, mixed):
        agent.learn(50 * 40)
    np.testing.assert_array_equal(plain.action_probs()[0], mixed.action_probs()[1])
    assert not np.array_equal(plain.action_probs()[0], mixed.action_probs()[0])


@pytest.mark.parametrize("env", ["tiger", "cheese", "grid(size=5)"])
def test_a_seeds_numbers_depend_on_the_seeds_beside_it_by_rounding_alone(env: str) -> None:
    together, alone = make(env, "fib", 0.5, seeds=(4, 5, 6)), make(env, "fib", 0.5, seeds=(5,))
    for agent in (together, alone):
        agent.learn(50 * 40)
    np.testing.assert_allclose(together.action_probs()[0, 1], alone.action_probs()[0, 0], atol=1e-6)


def test_same_seed_twice_gives_the_same_parameters_and_another_seed_others() -> None:
    first, second, third = make(seeds=(1,)), make(seeds=(1,)), make(seeds=(2,))
    for agent in (first, second, third):
        agent.learn(500)
    assert_same(first, second)
    assert not np.array_equal(parameters(first)[0], parameters(third)[0])


def test_how_often_one_evaluates_does_not_change_the_training() -> None:
    rare, often = (make("cheese", "qmdp", 0.5, seeds=(0,)) for _ in range(2))
    rare.learn(1000, evaluate_at=[1000])
    often.learn(1000, evaluate_at=range(50, 1001, 50))
    assert_same(rare, often)
    assert [r.env_steps for r in rare.records] == [1000]
    assert len(often.records) == 20


def test_learn_takes_whole_updates_and_can_be_stopped_by_the_callback() -> None:
    agent, seen = make(), []

    def stop(agent: IMMReinforce, record: Record | None) -> bool:
        seen.append(agent.env_steps)
        return agent.env_steps < 150

    agent.learn(10_000, stop)
    assert seen == [50, 100, 150]
    assert make().learn(101).env_steps == 150


def test_records_carry_every_measure() -> None:
    agent = make("cheese", "qmdp", "linear:1->0@0.5")
    agent.learn(1000)
    last = agent.records[-1]
    assert set(last.measures) == {
        f"imm/{k}"
        for k in ("loss", "lambda", "kl", "naive_kl", "agreement", "grad_cosine", "weight")
    }
    assert (last.measures["imm/lambda"] == 0.0).all()  # annealed away, and still measured
    assert (last.measures["imm/kl"] > 0.0).all()
    assert (last.measures["imm/naive_kl"] >= last.measures["imm/kl"]).all()
    assert (np.abs(last.measures["imm/grad_cosine"]) <= 1.0 + 1e-6).all()
    assert np.isfinite(last.rollout_returns).all()


def test_grad_cosine_is_that_of_each_runs_whole_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make("cheese", "qmdp", 1.0, seeds=(0, 1, 2), hidden_sizes=(8, 5))
    found: dict[str, Any] = {}
    original = MatchingTerm._grad_cosine

    def spy(self: MatchingTerm, main: Any, matching: Any) -> Any:
        parameters = list(agent.policy.parameters())
        flat = []
        for loss in (main, matching):
            parts = torch.autograd.grad(loss.sum(), parameters, retain_graph=True)
            flat.append(torch.cat([p.flatten(1) for p in parts], dim=1).double())
        found["expected"] = torch.nn.functional.cosine_similarity(*flat, dim=1).numpy()
        return original(self, main, matching)

    monkeypatch.setattr(MatchingTerm, "_grad_cosine", spy)
    for _ in range(3):
        agent.learn(agent.env_steps + 50, evaluate_at=[agent.env_steps + 50])
        cosine = agent.records[-1].measures["imm/grad_cosine"]
        np.testing.assert_allclose(cosine, found["expected"], atol=1e-5)
    assert min(c for r in agent.records for c in r.measures["imm/grad_cosine"]) < 0.0


def test_target_kl_moves_lambda_by_the_measured_kl() -> None:
    agent = make("cheese", "qmdp", "target-kl:0.05", seeds=(0, 1))
    agent.learn(50, evaluate_at=[50])
    measures = agent.records[0].measures
    expected = np.exp(0.1 * np.clip((measures["imm/kl"] - 0.05) / 0.05, -1.0, 1.0))
    np.testing.assert_allclose(measures["imm/lambda"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"gamma": 0.5},
        {"baseline": "none"},
        {"normalize_advantage": False},
        {"bootstrap": False},
        {"entropy_coef": 0.1},
        {"context_weight": "uniform"},
        {"contexts": "restricted"},
        {"learning_rate": 0.01},
        {"hidden_sizes": (16,)},
        {"n_envs": 2},
        {"n_steps": 25},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_reaches_the_training(changes: dict[str, Any]) -> None:
    plain, changed = make("tiger", "pomdp"), make("tiger", "pomdp", **changes)
    for agent in (plain, changed):
        agent.learn(300)
    assert not np.array_equal(plain.action_probs(), changed.action_probs())


def test_evaluation_settings_reach_the_evaluation() -> None:
    agent = make("tiger", "fib", eval_steps=1)
    agent.learn(50)
    assert (np.abs(agent.records[-1].returns) <= 100.0).all()  # one step pays −100, −1 or 10


def test_every_part_draws_from_a_stream_of_its_own() -> None:
    drawn = [generator(3, purpose).random(4).tolist() for purpose in PURPOSES]
    assert len({tuple(d) for d in drawn}) == len(PURPOSES)
    agent = make("cheese", "qmdp", seeds=(3,))
    states = [
        agent.rollouts.state()["environment"],
        agent.rollouts.state()["action"],
        agent.evaluator.state()["stream"],
        agent.source.state()["stream"],
    ]
    # The rollouts' environment stream has drawn the starts; the others stand at their beginning.
    assert len({str(s) for s in states}) == 4
    fresh = {p: SeedStreams([3], p).state() for p in PURPOSES}
    assert str(states[1]) == fresh["action"]
    assert str(states[3]) == fresh["context"]


def test_learning_rate_that_explodes_in_the_last_update_is_a_failed_run() -> None:
    agent = make("tiger", None, learning_rate=3e38)
    with pytest.raises(RunFailedError, match="policy of seed"):
        agent.learn(50)


def test_bootstrapping_without_discount_is_refused_where_episodes_may_go_on_for_ever() -> None:
    with pytest.raises(InvalidInputError, match="gamma is 1, and from state"):
        make("tiger", None, gamma=1.0)
    make("tiger", None, gamma=1.0, bootstrap=False).learn(50)


@pytest.mark.parametrize(
    ("steps", "evaluate_at"),
    [(0, None), (-5, None), ("100", None), (50.5, None), (True, None), (100, [0])],
)
def test_learn_refuses_what_is_no_number_of_steps(steps: Any, evaluate_at: Any) -> None:
    with pytest.raises(InvalidInputError, match="must be a whole number ≥ 1"):
        make().learn(steps, evaluate_at=evaluate_at)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pair": "tiger"}, "pair must be an EnvPair; received 'tiger'. Make one with imm_rl.make"),
        ({"settings": {"n_envs": 2}}, "settings must be ReinforceSettings"),
        ({"seeds": 5.5}, "seeds must be whole numbers"),
        ({"device": 0}, "device"),
        ({"imm_lambda": object()}, "λ"),
    ],
)
def test_agent_refuses_objects_of_another_kind(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IMMReinforce(**{"pair": imm_rl.make("tiger"), "restricted": "fib", **arguments})


def test_agent_takes_numpy_numbers_and_a_single_seed() -> None:
    pair = imm_rl.make("tiger")
    agent = IMMReinforce(pair, "fib", np.float32(0.5), seeds=np.arange(2), device="cpu")
    assert agent.seeds == [0, 1]
    assert IMMReinforce(pair, None, "ratio:0", seeds=3, device=torch.device("cpu")).seeds == [3]
    assert IMMReinforce(pair, None, "linear:0->0@1", device="cpu").schedules[0](0.5) == 0.0


def test_weight_is_0_where_no_belief_counts_and_its_distances_are_not_numbers() -> None:
    agent = make("tiger", "pomdp", seeds=(0,))
    agent.learn(5000)  # it opens the right door at once, so its beliefs stay even
    last = agent.records[-1].measures
    assert last["imm/weight"][0] == 0.0
    assert np.isnan(last["imm/kl"][0])
    cheese = make("cheese", "qmdp", context_weight="uniform").learn(50).records[-1].measures
    np.testing.assert_allclose(cheese["imm/weight"], 1.0)


def test_state_policy_is_what_a_run_has_learned(tmp_path: Path) -> None:
    agent = make("cheese", "qmdp", [0.0, 0.5], seeds=(4, 7)).learn(100)
    agent.state_policy(3).save(tmp_path / "model.zip")
    loaded = StatePolicy.load(tmp_path / "model.zip")
    np.testing.assert_allclose(loaded.table, agent.action_probs()[1, 1])
    assert (loaded.about["seed"], loaded.about["imm_lambda"]) == (7, "0.5")
    with pytest.raises(InvalidInputError, match="run must be a whole number from 0 to 3"):
        agent.state_policy(4)


def test_aligned_weight_is_lambda_times_the_cosine_where_positive() -> None:
    agent = make("cheese", "qmdp", "aligned:2", seeds=range(6))
    agent.learn(500)
    for record in agent.records:
        expected = 2.0 * np.maximum(record.measures["imm/grad_cosine"], 0.0)
        np.testing.assert_allclose(record.measures["imm/lambda"], expected, rtol=1e-5)


def test_divergence_is_a_failed_run_that_names_the_run() -> None:
    agent = make(seeds=(3, 8))
    with torch.no_grad():
        agent.policy.weights[0][1].fill_(float("nan"))
    with pytest.raises(RunFailedError, match=r"seed 8 \(λ = linear:1->0@0.5\) is not finite at 0"):
        agent.learn(500)


def test_divergence_of_many_runs_names_a_few_and_their_number() -> None:
    agent = make(seeds=range(5))
    with torch.no_grad():
        agent.policy.weights[0].fill_(float("nan"))
    with pytest.raises(
        DivergedError, match=r"seed 2 \(\S+ = \S+\) and 2 more is not finite at 0"
    ) as raised:
        agent.learn(500)
    assert raised.value.env_steps == 0
    assert pickle.loads(pickle.dumps(raised.value)).env_steps == 0  # as a worker's errors travel


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": ()}, "seeds must be whole numbers"),
        ({"seeds": (1, 1)}, "seeds must all differ"),
        ({"seeds": (-1,)}, "seeds must be whole numbers ≥ 0"),
        ({"restricted": None, "weight": 0.5}, "there is no restricted policy to match"),
        ({"restricted": "fibb"}, "Did you mean 'fib'?"),
        ({"restricted": object()}, "restricted must have a method probs"),
        ({"weight": -1.0}, "-1"),
        ({"weight": []}, "imm_lambda must name at least one weight"),
        ({"weight": "linaer:1->0"}, "linear"),
    ],
)
def test_agent_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(**options)


def test_agent_refuses_a_policy_for_another_model_and_a_missing_device() -> None:
    policy = solve(imm_rl.make("cheese").model, "qmdp")
    with pytest.raises(
        InvalidInputError, match="11 states and 4 actions; tiger has 2 states and 3"
    ):
        IMMReinforce(imm_rl.make("tiger"), policy)
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInputError, match="finds no CUDA device"):
            IMMReinforce(imm_rl.make("tiger"), None, device="cuda")


@pytest.mark.parametrize("env", ["tiger", "cheese", "4x3", "crying-baby"])
def test_agent_reaches_90_percent_of_the_optimum_on_every_seed(env: str) -> None:
    agent = make(env, "pomdp", seeds=range(10))
    agent.learn(6000)
    pair = agent.pair
    optimum = oracle_return(pair.model, 50)
    returns = exact_returns(pair.model, agent.action_probs()[0], 50)
    assert (returns >= optimum - 0.1 * abs(optimum)).all()


@pytest.mark.slow
def test_imm_helps_on_the_papers_grid_by_a_permutation_test() -> None:
    points = paper.figure_2(imm_rl.make("grid"), epochs=[75], seeds=range(20), device="cpu")
    plain, helped = (next(p for p in points if p.curve == c) for c in ("none", "imm_argmax"))
    # The published means are 7.5 and 14.8, with deviations of 2.9 and 2.7.
    assert helped.mean - plain.mean > 4.0 * np.hypot(helped.sd, plain.sd) / np.sqrt(20)
