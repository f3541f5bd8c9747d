"""`make` with Gymnasium ids, and with factories of environments and feature pairs; its texts and errors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled

from imm_rl.agents.arguments import checked_pair
from imm_rl.envs import EnvPair, make, register, registry
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.errors import InvalidInputError


class Dial(gymnasium.Env[Any, Any]):
    """A number that an action turns; nothing is registered."""

    def __init__(self, start: float = 0.0, render_mode: str | None = None) -> None:
        self.start = start
        self.observation_space = spaces.Box(-1, 1, (2,))
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.array([self.start, 0.5], np.float32), {}


def dial(start: float = 0.0) -> gymnasium.Env[Any, Any]:
    """A factory of environments."""
    return Dial(start)


def dial_pair(*, observe: Any = (1,)) -> FeaturePair:
    """A factory of pairs that takes `observe` itself."""
    return FeaturePair("dial", Dial, observe)


def fixed_pair() -> FeaturePair:
    return FeaturePair("dial", Dial, [0])


def confused(**options: Any) -> gymnasium.Env[Any, Any]:
    """A factory that takes `observe` and makes an environment, which has one view."""
    return Dial()


def broken() -> gymnasium.Env[Any, Any]:
    raise DependencyNotInstalled('run `pip install "gymnasium[broken]"`')


class BrokenDial(Dial):
    def __init__(self) -> None:
        raise RuntimeError("no dial today")


def needs_nothing_there() -> gymnasium.Env[Any, Any]:
    return importlib.import_module("no_such_module_at_all")  # type: ignore[return-value]


def second(observations: Any) -> Any:
    return observations[:, 1]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """This module under a name that can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers Gymnasium ids for one test."""
    known = dict(gymnasium.registry)
    yield gymnasium.register
    gymnasium.registry.clear()
    gymnasium.registry.update(known)


@pytest.mark.parametrize(
    ("spec", "options", "spec_again"),
    [
        ("CartPole-v1", {}, "CartPole-v1"),
        ("CartPole-v1", {"observe": [2, 3]}, "CartPole-v1(observe=[2, 3])"),
        ("CartPole-v1(observe=[2, 3])", {}, "CartPole-v1(observe=[2, 3])"),
        (" CartPole-v1( observe = (2, 3), )", {}, "CartPole-v1(observe=(2, 3))"),
        ("CartPole-v1", {"observe": np.array([2, 3])}, "CartPole-v1(observe=[2, 3])"),
        ("CartPole-v1", {"observe": range(2, 4)}, "CartPole-v1(observe=[2, 3])"),
        (
            "FrozenLake-v1(map_name='8x8', observe=[0])",
            {"is_slippery": False, "max_episode_steps": 7},
            "FrozenLake-v1(map_name='8x8', observe=[0], is_slippery=False, max_episode_steps=7)",
        ),
        ("Pendulum-v1", {"g": 9.0}, "Pendulum-v1(g=9.0)"),
        (
            "gymnasium.envs.classic_control:CartPole-v1(observe=[0])",
            {},
            "gymnasium.envs.classic_control:CartPole-v1(observe=[0])",
        ),
    ],
)
def test_make_reads_gymnasium_ids(spec: str, options: dict[str, Any], spec_again: str) -> None:
    pair = make(spec, **options)
    assert isinstance(pair, FeaturePair)
    assert pair.spec == spec_again
    again: Any = make(pair.spec)
    assert again.spec == spec_again
    assert (again.name, again.max_steps) == (pair.name, pair.max_steps)
    assert again.observation_space == pair.observation_space
    assert (again.features is None) == (pair.features is None)
    if pair.features is not None:
        assert again.features.observe == pair.features.observe
    mdp: Any = again.mdp().unwrapped
    for name, value in options.items():
        if hasattr(mdp, name):
            assert getattr(mdp, name) == value


def test_options_reach_the_environment() -> None:
    pair = make("FrozenLake-v1(map_name='8x8', observe=[0], max_episode_steps=7)")
    assert isinstance(pair, FeaturePair)
    assert pair.features is not None
    assert pair.features.space == spaces.Discrete(64)
    assert (pair.name, pair.max_steps) == ("FrozenLake-v1", 7)
    pendulum: Any = make("Pendulum-v1", g=3.0)
    assert pendulum.mdp().unwrapped.g == 3.0


def test_function_is_given_as_it_is_or_by_its_place(module: str) -> None:
    pair: Any = make("MountainCar-v0", observe=lambda x: x[:, :1])
    assert pair.spec == ""  # a text cannot hold it
    spec = f"MountainCar-v0(observe='{module}:second')"
    pair = make(spec)
    assert pair.spec == spec
    full, _ = pair.mdp().reset(seed=1)
    assert pair.pomdp().reset(seed=1)[0].tolist() == [full[1]]


def test_spec_is_empty_where_an_option_cannot_be_written() -> None:
    assert make("FrozenLake-v1", desc=np.array([["S", "F"], ["F", "G"]]), observe=[0]).spec == ""


@pytest.mark.parametrize("target", ["Dial", "dial"])
def test_make_makes_a_pair_of_a_users_environment(module: str, target: str) -> None:
    spec = f"{module}:{target}(start=0.25, observe=[1])"
    pair: Any = make(spec)
    assert isinstance(pair, FeaturePair)
    assert (pair.name, pair.spec, pair.max_steps) == (target, spec, None)
    assert pair.features.observe == [1]
    assert pair.mdp().reset()[0].tolist() == [0.25, 0.5]
    assert pair.pomdp().reset()[0].tolist() == [0.5]
    assert make(f"{module}:{target}").features is None  # type: ignore[union-attr]
    assert make(f"{module}:{target}(0.75)").mdp().reset()[0].tolist() == [0.75, 0.5]  # type: ignore[union-attr]


def test_make_takes_a_factorys_feature_pair(module: str) -> None:
    pair: Any = make(f"{module}:dial_pair")
    assert (pair.name, pair.spec, pair.features.observe) == ("dial", f"{module}:dial_pair", [1])
    assert make(f"{module}:dial_pair(observe=[0])").features.observe == [0]  # type: ignore[union-attr]


def test_tabular_returns_pairs_with_a_model_and_refuses_others() -> None:
    pair = make("tiger")
    assert registry.tabular(pair) is pair
    refused = (
        "CartPole-v1 is a Gymnasium environment without a tabular model, and imm-rl solve needs"
    )
    with pytest.raises(
        InvalidInputError, match=refused + r" one\. Train on it with PPO.*tiger-grid"
    ):
        registry.tabular(make("CartPole-v1"), "imm-rl solve")
    with pytest.raises(InvalidInputError, match="pair must be an EnvPair; received 3. Make one"):
        registry.tabular(3)
    with pytest.raises(InvalidInputError, match="CartPole-v1 is .* IMMReinforce needs one"):
        checked_pair(make("CartPole-v1", observe=[0]))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        # names
        (
            "CartPool-v1",
            {},
            "unknown Gymnasium environment 'CartPool-v1'. Did you mean 'CartPole-v1'?",
        ),
        (
            "CartPole-v7",
            {},
            "unknown Gymnasium environment 'CartPole-v7'. Did you mean 'CartPole-v1'?",
        ),
        ("cartpole-v1", {}, "Did you mean 'CartPole-v1'?"),
        ("cartpole", {}, "unknown environment 'cartpole'. Did you mean 'CartPole-v1'?"),
        (
            "CartPole",
            {"observe": [2]},
            "unknown environment 'CartPole'. Did you mean 'CartPole-v1'?",
        ),
        (
            "Qqqq-v0",
            {},
            r"'Qqqq-v0'\. `gymnasium.pprint_registry\(\)` lists the \d+ known ids; one of",
        ),
        ("Other/Pong-v5", {}, "one of another package is module:id, e.g. ale_py:ALE/Pong-v5"),
        ("no_such_package:Pong-v5", {}, "cannot import 'no_such_package' of .*Install its package"),
        ("json:Pong-v5", {}, "unknown Gymnasium environment 'Pong-v5'"),
        (
            "imm_rl/Tiger-MDP-v0",
            {},
            r"is one view of the tabular problem tiger, .*Write make\('tiger'",
        ),
        ("imm_rl/Tiger-POMDP-v0", {"observe": [0]}, r"one view of .* Write make\('tiger'\)"),
        ("imm_rl/TigerGrid-MDP-v0", {}, r"Write make\('tiger-grid'\)"),
        ("imm_rl/Tigr-MDP-v0", {}, "unknown environment .*Did you mean 'imm_rl/Tiger-MDP-v0'"),
        # what is seen
        ("CartPole-v1(observe=[4])", {}, r"observe must name features in \[0, 4\); received 4"),
        ("CartPole-v1(observe=[-1])", {}, r"observe must name features in \[0, 4\); received -1"),
        ("CartPole-v1(observe=[1, 1])", {}, "observe must name each feature once"),
        ("CartPole-v1(observe=[])", {}, "observe must name at least one feature"),
        ("CartPole-v1(observe=2)", {}, "observe must be a list of whole numbers, or a function"),
        ("CartPole-v1(observe='2,3')", {}, "observe must be a list of indices or a function; rec"),
        ("CartPole-v1(observe='nowhere:f')", {}, "cannot import 'nowhere' of the observe function"),
        ("CartPole-v1(observe='json:dump_')", {}, "has no function 'dump_'. Did you mean 'dump'"),
        ("CartPole-v1(observe=[0])", {"observe": [1]}, "option 'observe' must be given once"),
        (
            "Blackjack-v1(observe=[0])",
            {},
            "observe must be a function where observations are a Tuple",
        ),
        (
            "CartPole-v1",
            {"observe": lambda x: x[2:]},
            "must answer a row for each of 5 observations",
        ),
        (
            "CartPole-v1",
            {"observe": lambda x: x * np.nan},
            r"must answer finite.*\[nan, nan, nan, nan",
        ),
        # options
        (
            "CartPole-v1(sutton_bart_reward=True)",
            {},
            "unknown option 'sutton_bart_reward' of environment CartPole-v1",
        ),
        (
            "CartPole-v1(max_steps=3)",
            {},
            "'max_steps' of .*. Did you mean 'max_episode_steps'.*observe, ",
        ),
        ("CartPole-v1", {"render_mode": "rgb_array"}, r"Write pair.mdp\(render_mode=...\)"),
        (
            "CartPole-v1(3)",
            {},
            r"values of environment CartPole-v1 must have names; received \[3\]",
        ),
        ("CartPole-v1(max_episode_steps=0)", {}, "environment 'CartPole-v1' cannot be built: "),
        ("FrozenLake-v1(map_name='9x9')", {}, "'FrozenLake-v1' cannot be built: KeyError: '9x9'"),
    ],
)
def test_make_says_what_is_wrong_with_a_gymnasium_spec(
    spec: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        make(spec, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("confused(observe=[0])", "confused must not take observe and return a gymnasium.Env"),
        ("fixed_pair(observe=[1])", "fixed_pair' has no option observe"),
        (
            "Dial(begin=1)",
            "unknown option 'begin' of environment .*Dial.*Known: render_mode, start",
        ),
        ("Dial(observe=[2])", r"observe must name features in \[0, 2\); received 2"),
        ("BrokenDial", "BrokenDial' cannot be built: RuntimeError: no dial today"),
    ],
)
def test_make_says_what_is_wrong_with_a_users_environment(
    module: str, spec: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(f"{module}:{spec}")


def test_make_says_how_to_install_what_is_missing(entry_points: Any) -> None:
    entry_points("Broken-v0", entry_point=broken)
    told = r"'Broken-v0' needs a package that is not installed: run `pip install \"gymnasium\[broken\]\"`"
    with pytest.raises(InvalidInputError, match=told + r"\.$"):
        make("Broken-v0")
    entry_points("Missing-v0", entry_point=needs_nothing_there)
    with pytest.raises(InvalidInputError, match="Try pip install no_such_module_at_all"):
        make("Missing-v0")
    entry_points("Absent-v0", entry_point="no_such_module_at_all:Env")
    with pytest.raises(InvalidInputError, match="Try pip install no_such_module_at_all"):
        make("Absent-v0", size=3)


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is not None, reason="MuJoCo is there")
@pytest.mark.parametrize("options", [{}, {"frame_skip": 3}])
def test_make_names_the_pip_command_of_mujoco(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r'Hopper-v5.*pip install "gymnasium\[mujoco\]"'):
        make("Hopper-v5", **options)


def test_environment_that_takes_any_option_says_itself_what_it_does_not_know(
    entry_points: Any,
) -> None:
    def any_dial(**options: Any) -> Dial:
        return Dial(**options)

    entry_points("AnyDial-v0", entry_point=any_dial)
    with pytest.raises(InvalidInputError, match="'AnyDial-v0' cannot be built: TypeError: .*begin"):
        make("AnyDial-v0", begin=1)


def test_registered_problems_stay_tabular(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", {"a-dial": fixed_pair})
    with pytest.raises(
        InvalidInputError, match="a-dial must return an EnvPair or a TabularPOMDP; rec"
    ):
        make("a-dial")
    with pytest.raises(InvalidInputError, match="not end in -v<number>"):
        register("Dial-v0", fixed_pair)
    assert isinstance(make("imm_rl.envs.tiger:tiger"), EnvPair)


def test_making_a_tabular_pair_imports_no_agent_library() -> None:
    code = (
        "import sys, imm_rl; imm_rl.make('tiger'); imm_rl.make('CartPole-v1', observe=[2]).pomdp();"
        "print([m for m in ('torch', 'stable_baselines3', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
