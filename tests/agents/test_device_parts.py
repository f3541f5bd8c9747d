"""What a training on a device is made of: streams, filter, sampler and policies give the host's numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents.context_weights import tensor_weighing, weighing
from imm_rl.agents.device_streams import MOST_AHEAD, DeviceStreams
from imm_rl.agents.restricted import on_device as module
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.restricted.on_device import on_device
from imm_rl.agents.solve import solve
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.device_belief import DeviceFilter
from imm_rl.envs.device_sampler import DeviceSampler

CPU = torch.device("cpu")
NoHostWaits = Callable[[], AbstractContextManager[None]]


def test_streams_give_the_hosts_numbers_however_they_are_asked() -> None:
    host = SeedStreams([3, 5], "context", 2)
    device = DeviceStreams([3, 5], "context", 2, CPU)
    for shape in [(1, 1, 4), *[(3, 7, 4)] * (MOST_AHEAD + 5), (1, 1, 4), (2, 3, 4)]:
        np.testing.assert_array_equal(host.uniforms(*shape), device.uniforms(*shape).numpy())


@pytest.mark.parametrize("asked", [0, 1, 2, 3, MOST_AHEAD + 1])
def test_streams_say_where_the_host_would_stand_though_they_draw_ahead(asked: int) -> None:
    host, device = SeedStreams([3, 5], "action"), DeviceStreams([3, 5], "action", 1, CPU)
    for _ in range(asked):
        host.uniforms(1, 7, 2)
        device.uniforms(1, 7, 2)
    assert host.state() == device.state()
    other = DeviceStreams([3, 5], "action", 1, CPU)
    other.restore(device.state())
    np.testing.assert_array_equal(other.uniforms(1, 7, 2), host.uniforms(1, 7, 2))


@pytest.mark.parametrize("env", ["tiger", "cheese", "tiger-grid", "tmaze", "light-dark", "shuttle"])
def test_sampler_and_filter_give_the_hosts_outcomes_and_beliefs(env: str) -> None:
    pair, rng = imm_rl.make(env), np.random.default_rng(0)
    model, sampler = pair.model, DeviceSampler(pair.sampler, CPU)
    host, device = BeliefFilter(pair.restricted_model), DeviceFilter(pair.restricted_model, CPU)
    beliefs = host.start(60)
    on: Any = device.start(60)
    states = pair.sampler.initial(rng.random(60))
    np.testing.assert_array_equal(beliefs, on.numpy())
    for _ in range(12):
        actions, moves, sights = rng.integers(model.n_actions, size=60), *rng.random((2, 60))
        after = pair.sampler.transition(states, actions, moves)
        seen = pair.sampler.observe(actions, after, sights)
        there, here, acted, moved, sight = map(
            torch.from_numpy, (after, states, actions, moves, sights)
        )
        assert sampler.transition(here, acted, moved).equal(there)
        assert sampler.observe(acted[None], there[None], sight[None])[0].numpy().tolist() == (
            seen.tolist()
        )
        reward = pair.sampler.reward(states, actions, after, seen)
        np.testing.assert_array_equal(sampler.reward(here, acted, there, sight), reward)
        going = ~model.terminal[after] & (rng.random(60) < 0.9)
        beliefs = host.follow(beliefs, actions, seen, going)
        on = device.follow(on, acted, torch.from_numpy(seen), torch.from_numpy(going))
        np.testing.assert_allclose(on.numpy(), beliefs, atol=1e-12)
        states = np.where(going, after, pair.sampler.initial(rng.random(60)))
    assert not bool(device.impossible)


def test_filter_flags_what_is_impossible() -> None:
    model = imm_rl.make("tmaze").model
    device = DeviceFilter(model, CPU)
    gone = int(np.flatnonzero(model.terminal)[0])
    sure = torch.zeros(1, model.n_states, dtype=torch.float64)
    sure[0, gone] = 1.0
    zero = torch.zeros(1, dtype=torch.long)
    device.follow(sure, zero, zero, torch.tensor([False]))
    assert not bool(device.impossible)
    device.follow(sure, zero, zero, torch.tensor([True]))  # it ended there, and goes on
    assert bool(device.impossible)


def policies() -> dict[str, Any]:
    model = imm_rl.make("cheese").model
    vectors, ahead = solve(model, "qmdp").with_(execution="vectors"), solve(model, "fib")
    rng = np.random.default_rng(0)
    known = rng.dirichlet(np.ones(11), 30)
    values = rng.normal(size=(30, 4))
    table = np.eye(4)[values.argmax(1)] * 0.6 + 0.1
    return {
        "vectors": vectors,
        "first of ties": vectors.with_(ties="first"),
        "softmax": vectors.with_(temperature=0.5),
        "lookahead": ahead.with_(execution="lookahead"),
        "lookahead softmax": ahead.with_(execution="lookahead", temperature=0.5),
        "table": BeliefTablePolicy(known, table),
        "table first": BeliefTablePolicy(known, table, ties="first"),
        "table softmax": BeliefTablePolicy(known, table, values=values, temperature=0.3),
    }


def test_policies_answer_as_on_the_host_and_make_nobody_wait(
    no_host_waits: NoHostWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SCORES", 500)  # in several blocks
    rng = np.random.default_rng(1)
    beliefs = rng.dirichlet(np.full(11, 0.2), (5, 20))
    beliefs[0, :11] = np.eye(11)
    beliefs[1, 0] = 1.0 / 11.0
    for name, policy in policies().items():
        asked = on_device(policy, CPU)
        assert asked is not None, name
        on = torch.from_numpy(beliefs)
        with no_host_waits():
            found = asked(on)
        expected = policy.probs(beliefs)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9, err_msg=name)
        for weight in ("uniform", "certainty", "informed"):
            weights = tensor_weighing(weight, policy, CPU)(on, found)
            wanted = weighing(weight, policy)(beliefs, expected)
            np.testing.assert_allclose(weights.numpy(), wanted, atol=1e-9, err_msg=weight)


def test_a_class_of_the_users_own_is_not_taken_for_its_base() -> None:
    class Mine(BeliefTablePolicy):
        def probs(self, context: Any) -> Any:
            return super().probs(context)[..., ::-1]

    assert on_device(Mine(np.eye(3), np.eye(3)), CPU) is None
