"""`make`: every form of a spec, and a clear line for each way to get it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.envs import EnvPair, TabularPOMDP, gym_ids, make, names, register, registry
from imm_rl.errors import InvalidInputError

FILE = """
discount: 0.9
values: reward
states: a b
actions: stay
observations: seen
T: stay identity
O: stay uniform
R: stay : a : * : * 1
"""


def small_model(*, discount: float = 0.5) -> TabularPOMDP:
    """A factory that returns a model."""
    return TabularPOMDP([[[1.0]]], [[[1.0]]], [[0.0]], [1.0], discount)


def needs_more(*, size: int) -> TabularPOMDP:
    """A factory with an option that has no default."""
    return small_model(discount=1.0 / size)


def takes_anything(**options: Any) -> EnvPair:
    """A factory that checks its options itself."""
    return EnvPair("anything", small_model(), max_steps=options.get("steps", 3))


NOT_CALLABLE = 3
ROCKS = "rocksample(size=3, rocks=2, rock_positions=[[0, 1], [2, 2]])"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """This module under a name that can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my (1).POMDP"
    path.write_text(FILE)
    return path


@pytest.fixture
def registered() -> Any:
    """Registers names for one test."""
    known = dict(registry._FACTORIES)
    yield register
    registry._FACTORIES.clear()
    registry._FACTORIES.update(known)


PROBLEMS = (
    *("1d", "4x3", "4x4", "cheese", "crying-baby", "grid", "hallway", "hallway2", "light-dark"),
    *("mini-hall2", "network", "rocksample", "shuttle", "tag", "tiger", "tiger-grid", "tmaze"),
)


def test_names_are_the_problems_in_order() -> None:
    assert names() == PROBLEMS


@pytest.mark.parametrize(
    ("spec", "options", "spec_again"),
    [
        ("tiger", {}, "tiger"),
        (" tiger ", {}, "tiger"),
        ("tiger()", {}, "tiger"),
        ("grid(size=5)", {}, "grid(size=5)"),
        ("grid", {"size": 5}, "grid(size=5)"),
        ("grid( size = 5, variance=.2 )", {}, "grid(size=5, variance=0.2)"),
        ("grid(size=5)", {"max_steps": 9}, "grid(size=5, max_steps=9)"),
        ("crying-baby(max_steps=4)", {}, "crying-baby(max_steps=4)"),
        ("4x3(max_steps=4)", {}, "4x3(max_steps=4)"),
        ("grid(5)", {}, "grid(size=5)"),
        ("grid(5, .2)", {"max_steps": 9}, "grid(size=5, variance=0.2, max_steps=9)"),
        ("grid(5, max_steps=9)", {}, "grid(size=5, max_steps=9)"),
        ("rocksample(3, 2, [[0, 1], [2, 2]])", {}, ROCKS),
        ("rocksample(3, 2, ((0, 1), (2, 2)))", {}, ROCKS.replace("[", "(").replace("]", ")")),
        ("tiger(0.9, )", {}, "tiger(accuracy=0.9)"),
    ],
)
def test_make_reads_names_and_options(spec: str, options: dict[str, Any], spec_again: str) -> None:
    pair = make(spec, **options)
    assert pair.spec == spec_again
    again = make(pair.spec)
    assert again.model.fingerprint() == pair.model.fingerprint()
    assert again.max_steps == pair.max_steps


def test_make_gives_no_spec_where_a_value_cannot_be_written() -> None:
    assert make("tiger", accuracy=np.float64(0.75)).spec == ""


def test_options_tells_the_defaults() -> None:
    assert registry.options("tiger") == {"accuracy": 0.85, "max_steps": 50}
    assert registry.options("grid") == {
        "size": 11,
        "variance": 0.1,
        "restricted_variance": 0.3,
        "discount": 0.9,
        "max_steps": 50,
    }


@pytest.mark.parametrize("as_path", [True, False])
def test_make_reads_a_file(file: Path, as_path: bool) -> None:
    pair = make(file if as_path else str(file), max_steps=4)
    assert (pair.name, pair.max_steps, pair.model.n_states) == ("my (1)", 4, 2)
    assert pair.model.reward.tolist() == [[1.0], [0.0]]
    assert make(file).max_steps == 50


def test_make_calls_a_factory_that_returns_a_model_or_a_pair(module: str) -> None:
    pair = make(f"{module}:small_model(discount=0.25)")
    assert (pair.name, pair.model.discount) == ("small_model", 0.25)
    assert pair.spec == f"{module}:small_model(discount=0.25)"
    assert make(f"{module}:takes_anything(steps=8)").max_steps == 8
    assert make(f"{module}:needs_more", size=4).model.discount == 0.25


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tigr", "unknown environment 'tigr'. Did you mean 'tiger'"),
        ("crying_baby", "Did you mean 'crying-baby'"),
        ("nothing-like-it", "unknown environment 'nothing-like-it'. Known: 1d, 4x3, 4x4, cheese"),
        ("grid(sise=3)", "unknown option 'sise' of environment grid. Did you mean 'size'"),
        ("tiger(size=3)", "unknown option 'size' of environment tiger.*Known: accuracy, max_steps"),
        ("grid(size=0)", "size must be a whole number ≥ 2; received 0"),
        ("grid(size='x')", "size must be a whole number ≥ 2; received 'x'"),
        ("grid(size=3.0)", r"size must be a whole number ≥ 2; received 3\.0"),
        ("grid(variance=0)", "variance must be a positive number; received 0"),
        ("grid(restricted_variance=-1)", "restricted_variance must be a positive number"),
        ("grid(discount=1.1)", r"discount must be in \(0, 1\]; received 1\.1"),
        ("grid(discount=True)", r"discount must be in \(0, 1\]; received True"),
        ("tiger(accuracy=2)", r"accuracy must be a probability in \[0, 1\]; received 2"),
        ("tiger(accuracy='0.85')", r"accuracy must be a probability in \[0, 1\]; received '0\.85'"),
        ("tiger(accuracy=None)", r"accuracy must be a probability in \[0, 1\]; received None"),
        ("tiger(accuracy=[1])", r"accuracy must be a probability in \[0, 1\]; received \[1\]"),
        ("cheese(max_steps=0)", "max_steps must be a whole number ≥ 1"),
        ("", "environment must not be empty.*Give a registered name"),
        ("   ", "environment must not be empty"),
        ("grid(size", r"must be of the form name\(option=value\); received 'grid\(size'"),
        ("grid(size=)", "must be of the form"),
        ("grid(*[3])", "must be of the form"),
        ("grid(size=3, 4)", "must be of the form"),
        ("grid(open('x'))", "must be of the form"),
        ("grid('x')", "size must be a whole number ≥ 2; received 'x'"),
        ("tiger(0.9, 7, 8)", r"environment tiger must have at most 2 \(accuracy, max_steps\); rec"),
        ("tiger(0.9, 7, 8, accuracy=1)", "must have at most 2"),
        (
            "grid(3, size=4)",
            "option 'size' must be given once; received 'as value 1, 3, and by name, 4'",
        ),
        (
            "grid(3, 0.1, variance=1)",
            "option 'variance' must be given once; received 'as value 2, 0.1,",
        ),
        ("grid(3, sise=4)", "unknown option 'sise' of environment grid. Did you mean 'size'"),
        ("tigr(3)", "unknown environment 'tigr'. Did you mean 'tiger'"),
        ("CartPole-v1(3)", r"values of environment CartPole-v1 must have names; received \[3\]"),
        ("missing.POMDP(3)", "must be a .POMDP file that exists; received 'missing.POMDP'"),
        ("missing.POMDP(3, 4)", r"must have at most 1 \(max_steps\); received \[3, 4\]"),
        ("grid(size=3, size=4)", "must be of the form"),
        ("grid(size=open('x'))", "must be of the form"),
        ("grid(**{'size': 3})", "must be of the form"),
        ("grid(size=3)(size=4)", "must be of the form"),
        ("grid(size=3).x", "must be of the form"),
        ("grid)", "must be of the form"),
        (
            "tiger(observe=[0])",
            "'tiger' has no option observe: what its restricted view sees is part",
        ),
        ("tigr(observe=[0])", "unknown environment 'tigr'. Did you mean 'tiger'"),
        ("missing.POMDP", "must be a .POMDP file that exists"),
        ("no_such_module:thing", "cannot import 'no_such_module' of environment"),
        ("imm_rl.envs.tiger:tigr", "has no factory 'tigr'. Did you mean 'tiger'"),
        ("imm_rl.envs.tiger:xyz", "module 'imm_rl.envs.tiger' has no factory 'xyz'."),
        ("math:pi", "math:pi must be callable"),
        ("os:getcwd", "os:getcwd must return an EnvPair, a TabularPOMDP, a FeaturePair or.*'str'"),
        ("json:dumps", "'json:dumps' cannot be built: missing a required argument: 'obj'"),
    ],
)
def test_make_says_what_is_wrong_with_a_spec(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(spec)


@pytest.mark.parametrize("spec", ["grid(size=3)", "grid(3)"])
def test_make_refuses_an_option_given_twice(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="option 'size' must be given once"):
        make(spec, size=4)


def test_make_binds_values_to_a_files_and_a_factorys_options(tmp_path: Path, module: str) -> None:
    (tmp_path / "small.POMDP").write_text(FILE)
    pair = make(f"{tmp_path}/small.POMDP(7)")
    assert (pair.max_steps, pair.spec) == (7, f"{tmp_path}/small.POMDP(max_steps=7)")
    assert make(pair.spec).max_steps == 7
    pair = make(f"{module}:needs_more(4)")
    assert (pair.model.discount, pair.spec) == (0.25, f"{module}:needs_more(size=4)")
    with pytest.raises(InvalidInputError, match=r"takes_anything must have names; received \[8\]"):
        make(f"{module}:takes_anything(8)")


def test_parse_gives_values_their_names() -> None:
    assert registry.parse("rocksample(7, 8)") == ("rocksample", {"size": 7, "rocks": 8})
    assert registry.parse("grid(5, max_steps=9)") == ("grid", {"size": 5, "max_steps": 9})


def test_make_refuses_options_a_file_does_not_have(file: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"option of a .POMDP file 'max_step'. Did you mean"
    ):
        make(file, max_step=3)
    with pytest.raises(InvalidInputError, match="has no option observe"):
        make(file, observe=[0])


def test_register_makes_a_problem_known_here_and_to_gymnasium(registered: Any) -> None:
    import gymnasium

    registered("my-problem", small_model)
    assert "my-problem" in names()
    assert make("my-problem(discount=0.25)").model.discount == 0.25
    env: Any = gymnasium.make("imm_rl/MyProblem-POMDP-v0", discount=0.75)
    assert env.unwrapped.pair.model.discount == 0.75
    gym_ids.register_all()  # what is there already is left alone, without a warning
    for view in ("MDP", "POMDP"):
        del gymnasium.registry[f"imm_rl/MyProblem-{view}-v0"]


@pytest.mark.parametrize("name", ["tiger", "a b", "", "x:y", "Thing-v0", "-x"])
def test_register_refuses_names_taken_or_malformed(registered: Any, name: str) -> None:
    with pytest.raises(InvalidInputError, match="name must"):
        registered(name, small_model)
    assert names() == PROBLEMS


def test_register_refuses_what_cannot_be_called(registered: Any) -> None:
    with pytest.raises(InvalidInputError, match="factory must be callable; received 3"):
        registered("thing", NOT_CALLABLE)
