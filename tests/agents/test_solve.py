"""`solve`: every solver by name, its settings, its cache."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents import AlphaVectorPolicy, solve, solver_names
from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError

TIGER = imm_rl.make("tiger").model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("IMM_RL_CACHE", str(folder))
    return folder


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which solvers ran."""
    module = sys.modules["imm_rl.agents.solve"]
    original, ran = module._solver, []

    def counted(name: str) -> Any:
        ran.append(name)
        return original(name)

    monkeypatch.setattr(module, "_solver", counted)
    return ran


@pytest.mark.parametrize("method", solver_names())
@pytest.mark.parametrize("problem", ["tiger", "crying-baby", "cheese", "4x3", "grid(size=4)"])
def test_every_solver_gives_a_policy_for_every_problem(method: str, problem: str) -> None:
    model = imm_rl.make(problem).restricted_model
    # `exact` never ends on the larger ones.
    endless = method == "exact" and model.n_states > 2
    policy = solve(model, method, time_limit=0.5 if endless else 30.0)
    assert isinstance(policy, AlphaVectorPolicy)
    assert policy.vectors.shape == (len(policy.vector_actions), model.n_states)
    assert policy.model is model
    assert policy.method in solver_names()[1:]
    # `pbvi` leaves the upper bound as it is; `exact` is not for the larger ones.
    may_stop = method == "pbvi" or endless
    assert policy.converged or may_stop
    assert policy.converged == (policy.notes == ())
    assert policy.seconds is not None
    assert policy.seconds > 0.0
    assert policy.upper_bound is not None
    assert policy.lower_bound is None or policy.lower_bound <= policy.upper_bound
    beliefs = np.random.default_rng(0).dirichlet(np.ones(model.n_states), size=7)
    probs = policy.probs(beliefs)
    assert probs.shape == (7, model.n_actions)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)


@pytest.mark.parametrize("method", solver_names())
def test_every_solver_gives_the_same_numbers_again(method: str) -> None:
    one, two = (solve(TIGER, method, cache=False, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)
    np.testing.assert_array_equal(one.vector_actions, two.vector_actions)
    assert (one.lower_bound, one.upper_bound) == (two.lower_bound, two.upper_bound)


@pytest.mark.parametrize("method", solver_names())
def test_every_solver_reports_progress(method: str) -> None:
    seen: list[Any] = []
    policy = solve(TIGER, method, cache=False, progress=seen.append)
    assert seen[-1].upper_bound == pytest.approx(policy.upper_bound)
    assert seen[-1].n_vectors >= len(policy.vectors)


def test_solve_names_the_default_first_and_says_which_solver_it_was() -> None:
    assert solver_names() == ("pomdp", "exact", "fib", "pbvi", "qmdp", "sarsop")
    assert solve(TIGER).method == "exact"  # S·A·O = 12
    assert solve(imm_rl.make("cheese").model).method == "sarsop"


def test_solve_refuses_an_unknown_method_and_suggests_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown solver 'pbv'. Did you mean 'pbvi'\?"):
        solve(TIGER, "pbv")


@pytest.mark.parametrize("method", [["qmdp"], None, 0, b"qmdp"])
def test_solve_refuses_a_method_that_is_no_name(method: Any) -> None:
    known = "Known: exact, fib, pbvi, pomdp, qmdp, sarsop"
    with pytest.raises(InvalidInputError, match=f"unknown solver .* {known}"):
        solve(TIGER, method)


def test_solve_takes_numbers_of_any_kind(cache: Path, solved: list[str]) -> None:
    solve(TIGER, "qmdp", time_limit=np.float32(8.0), precision=np.float64(0.5), seed=np.int64(3))  # type: ignore[arg-type]
    solve(TIGER, "qmdp", time_limit=Fraction(8), precision=0.5, seed=3)  # type: ignore[arg-type]
    assert solved == ["qmdp"]


def test_solve_refuses_a_pair_and_says_what_to_pass() -> None:
    pair: Any = imm_rl.make("tiger")
    with pytest.raises(InvalidInputError, match=r"received 'EnvPair'.*pair.restricted_model"):
        solve(pair)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_limit": 0.0}, "time_limit must be a number > 0"),
        ({"time_limit": float("inf")}, "time_limit must be a number > 0"),
        ({"time_limit": "10"}, "time_limit must be a number > 0"),
        ({"precision": -1e-3}, "precision must be a number > 0"),
        ({"precision": float("nan")}, "precision must be a number > 0"),
        ({"precision": True}, "precision must be a number > 0"),
        ({"precision": "0.1"}, "precision must be a number > 0"),
        ({"time_limit": None}, "time_limit must be a number > 0"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1.0}, "seed must be a whole number"),
    ],
)
def test_solve_refuses_settings(settings: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        solve(TIGER, "qmdp", **settings)


def test_solve_takes_the_second_policy_from_the_cache(cache: Path, solved: list[str]) -> None:
    one = solve(TIGER, "exact")
    two = solve(imm_rl.make("tiger").model, "pomdp")  # the same numbers, and what pomdp stands for
    assert solved == ["exact"]
    assert len(list(cache.iterdir())) == 1
    np.testing.assert_array_equal(one.vectors, two.vectors)
    beliefs = np.random.default_rng(0).dirichlet(np.ones(2), size=9)
    np.testing.assert_array_equal(one.probs(beliefs), two.probs(beliefs))
    assert vars(two).keys() == vars(one).keys()
    for name in ("lower_bound", "upper_bound", "seconds", "converged", "notes", "fingerprint"):
        assert getattr(two, name) == getattr(one, name)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (imm_rl.make("tiger(accuracy=0.8)").model, {}),
        (TIGER, {"method": "qmdp"}),
        (TIGER, {"seed": 1}),
        (TIGER, {"precision": 1e-2}),
        (TIGER, {"time_limit": 9.0}),
    ],
)
def test_solve_caches_each_model_and_setting_apart(
    cache: Path, solved: list[str], model: Any, settings: Any
) -> None:
    solve(TIGER, "fib")
    solve(model, **{"method": "fib", **settings})
    assert len(solved) == 2
    assert len(list(cache.iterdir())) == 2


def test_solve_takes_ten_and_ten_point_zero_for_one(cache: Path, solved: list[str]) -> None:
    solve(TIGER, "fib", time_limit=10)
    solve(TIGER, "fib", time_limit=10.0)
    assert solved == ["fib"]


@pytest.mark.parametrize("method", ["exact", "fib", "pbvi", "sarsop"])
def test_solve_does_not_cache_what_the_clock_stopped(
    cache: Path, solved: list[str], method: str
) -> None:
    for _ in range(2):
        policy = solve(TIGER, method, time_limit=1e-6)
        assert not policy.converged
        assert policy.notes[0].startswith("stopped by the time limit of 1e-06 s")
    assert solved == [method] * 2
    assert not cache.exists()


@pytest.mark.parametrize("by_clock", [True, False])
def test_solve_does_not_cache_what_stopped_to_leave_time_for_its_policy(
    cache: Path, monkeypatch: pytest.MonkeyPatch, by_clock: bool
) -> None:
    # Point-based solvers stop before the limit, to back up what their policy meets.
    def early(model: TabularPOMDP, settings: SolveSettings) -> Solution:
        note = settings.clock_note if by_clock else "stopped after 3 rounds"
        return Solution(np.zeros((1, 2)), np.zeros(1, int), -99.0, 99.0, False, "vectors", note)

    monkeypatch.setattr(sys.modules["imm_rl.agents.solve"], "_solver", lambda name: early)
    policy = solve(TIGER, "sarsop", time_limit=60.0)
    assert policy.notes[0].startswith("stopped ")
    assert cache.exists() == (not by_clock)


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(
    ("method", "converges"), [("exact", True), ("pbvi", False), ("sarsop", True)]
)
def test_solve_does_not_cache_what_starts_from_a_bound_that_the_clock_cut(
    cache: Path, monkeypatch: pytest.MonkeyPatch, method: str, converges: bool, settled: bool
) -> None:
    # Of FIB's share of the time nothing is left; there is enough for all that follows.
    def informed(model: TabularPOMDP, settings: SolveSettings, *, share: float) -> Any:
        return informed_vectors(model, settings, share=share if settled else 0.0)

    monkeypatch.setattr(f"imm_rl.agents.solvers.{method}.informed_vectors", informed)
    policy = solve(TIGER, method, time_limit=60.0)
    assert policy.converged == converges
    cut = "FIB did not settle in its share of the time limit of 60 s"
    assert (cut in policy.notes) == (not settled)
    assert cache.exists() == settled


def test_solve_caches_what_stopped_short_of_its_precision_by_itself(
    cache: Path, solved: list[str]
) -> None:
    model = imm_rl.make("tiger").model
    for _ in range(2):
        policy = solve(model, "pbvi", precision=1e-15)
        assert not policy.converged
        assert "no longer rose" in policy.notes[0]
    assert solved == ["pbvi"]


def test_solve_without_cache_reads_and_writes_nothing(cache: Path, solved: list[str]) -> None:
    solve(TIGER, "fib", cache=False)
    assert not cache.exists()
    solve(TIGER, "fib")
    solve(TIGER, "fib", cache=False)
    assert len(solved) == 3


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04"])
def test_solve_rewrites_a_damaged_cache_entry(
    cache: Path, solved: list[str], content: bytes
) -> None:
    expected = solve(TIGER, "fib").vectors
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(content)
    np.testing.assert_array_equal(solve(TIGER, "fib").vectors, expected)
    assert len(solved) == 2
    assert len(entry.read_bytes()) == len(whole)


def test_solve_goes_on_where_nothing_can_be_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path / "file" / "cache"))
    policy = solve(TIGER, "fib")
    assert policy.upper_bound == pytest.approx(87.18, abs=0.01)
    assert policy.notes[0].startswith("not cached: ")


def test_solve_many_at_once_leave_one_whole_entry(cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        policies = list(pool.map(lambda _: solve(TIGER, "fib"), range(16)))
    for policy in policies:
        np.testing.assert_array_equal(policy.vectors, policies[0].vectors)
        assert policy.notes == ()
    (entry,) = cache.iterdir()
    assert AlphaVectorPolicy.load(entry, TIGER).method == "fib"


def test_solve_caches_in_the_home_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMM_RL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    solve(TIGER, "qmdp")
    (entry,) = (tmp_path / ".cache" / "imm-rl").iterdir()
    assert entry.name.startswith("qmdp-")
    assert entry.suffix == ".npz"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_agents_package_is_light_to_import() -> None:
    code = "import sys, imm_rl.agents; print({'numpy', 'torch', 'scipy'} & sys.modules.keys())"
    assert run_python(code) == "set()"


def test_solve_stays_a_function_when_its_module_is_imported() -> None:
    code = (
        "import imm_rl, imm_rl.agents.solve; from imm_rl.agents.solve import solve; "
        "print(imm_rl.agents.solve is solve, callable(imm_rl.agents.solve))"
    )
    assert run_python(code) == "True True"


def test_agents_package_lists_its_late_names() -> None:
    assert {"AlphaVectorPolicy", "IMMReinforce", "solve"} <= set(dir(imm_rl.agents))
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        imm_rl.agents.sovle  # noqa: B018  the lookup is what is tested
