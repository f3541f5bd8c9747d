"""`AlphaVectorPolicy`, its look-ahead and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents import AlphaVectorPolicy
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.restricted.vector_values import VectorValues
from imm_rl.agents.solvers import lookahead
from imm_rl.agents.solvers.lookahead import LookAhead
from imm_rl.agents.solvers.pruning import undominated
from imm_rl.envs import belief as belief_filter
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError, RunFailedError

TIGER = imm_rl.make("tiger").model
UNIFORM = np.array([0.5, 0.5])
# What the three actions of tiger are worth when nothing follows: listen, open left, open right.
LAST_STEP = TIGER.reward.T.copy()


def tiger_policy(**options: Any) -> AlphaVectorPolicy:
    return AlphaVectorPolicy(LAST_STEP, [0, 1, 2], model=TIGER, **options)


def random_policy(seed: int, *, sparse: bool = False, n_vectors: int = 9) -> AlphaVectorPolicy:
    rng = np.random.default_rng(seed)
    S, A, O = 6, 3, 4  # noqa: E741  the field's letter
    transition = rng.dirichlet(np.full(S, 0.3), size=(S, A))
    observation = rng.dirichlet(np.full(O, 0.3), size=(A, S))
    observation[:, :, 2] = 0.0  # an observation that is never made
    observation /= observation.sum(axis=2, keepdims=True)
    parts: list[list[Any]] = [
        [sp.csr_array(transition[:, a]) for a in range(A)],
        [sp.csr_array(observation[a]) for a in range(A)],
    ]
    model = TabularPOMDP(
        parts[0] if sparse else transition,
        parts[1] if sparse else observation,
        rng.normal(size=(S, A)),
        rng.dirichlet(np.ones(S)),
        0.9,
    )
    vectors = rng.normal(size=(n_vectors, S))
    return AlphaVectorPolicy(vectors, rng.integers(A, size=n_vectors), model=model, n_actions=A)


def looked_ahead(policy: AlphaVectorPolicy, belief: np.ndarray) -> np.ndarray:
    """Q (A,) of one belief (S,), by the definition and the Bayes filter."""
    model = policy.model
    assert model is not None
    q = belief @ model.reward
    for a in range(model.n_actions):
        likelihood = belief_filter.likelihood(belief, a, model)
        for o in np.flatnonzero(likelihood):
            after = belief_filter.update(belief, a, int(o), model)
            q[a] += model.discount * likelihood[o] * policy.value(after)
    return np.asarray(q)


def look_ahead(policy: AlphaVectorPolicy, *, table: bool) -> LookAhead:
    assert policy.model is not None
    values = VectorValues(policy.vectors, policy.vector_actions, policy.base, policy.n_actions)
    return LookAhead(policy.model, policy.vectors, values, table=table)


def test_value_is_the_best_vectors() -> None:
    policy = tiger_policy()
    assert policy.value(UNIFORM) == -1.0
    np.testing.assert_allclose(policy.value(np.array([[1.0, 0.0], [0.3, 0.7]])), [10.0, -1.0])


def test_action_values_on_vectors_by_hand() -> None:
    values = tiger_policy(execution="vectors").action_values(UNIFORM)
    np.testing.assert_allclose(values, [-1.0, -45.0, -45.0])


def test_action_values_look_ahead_by_hand() -> None:
    # With one step to go, listening at 0.97 / 0.03 leaves a belief worth opening at: opening at p is
    # worth 10p − 100(1 − p). After hearing the likely side p = .97·.85 / (.97·.85 + .03·.15).
    belief = np.array([0.97, 0.03])
    heard = 0.97 * 0.85 + 0.03 * 0.15
    p = 0.97 * 0.85 / heard
    listen = -1.0 + 0.95 * (heard * (10 * p - 100 * (1 - p)) + (1 - heard) * -1.0)
    right, wrong = 0.97 * 10 - 3.0, 0.03 * 10 - 97.0  # and a step at the uniform belief: −1
    expected = sorted([listen, right - 0.95, wrong - 0.95])
    values = tiger_policy().action_values(belief)
    np.testing.assert_allclose(sorted(values), expected)
    assert values[0] == pytest.approx(listen)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("table", [False, True])
def test_look_ahead_equals_its_definition(sparse: bool, table: bool) -> None:
    policy = random_policy(0, sparse=sparse)
    assert policy.model is not None
    beliefs = np.random.default_rng(1).dirichlet(np.full(6, 0.5), size=20)
    beliefs[0] = np.eye(6)[2]
    expected = np.array([looked_ahead(policy, b) for b in beliefs])
    ahead = look_ahead(policy, table=table)
    for form in (np.asarray, sp.csr_array):
        np.testing.assert_allclose(ahead.action_values(form(beliefs)), expected, atol=1e-12)
        np.testing.assert_allclose(policy.action_values(form(beliefs)), expected, atol=1e-12)


def test_look_ahead_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = random_policy(2, n_vectors=30)
    assert policy.model is not None
    beliefs = np.random.default_rng(1).dirichlet(np.ones(6), size=23)
    expected = look_ahead(policy, table=False).action_values(beliefs)
    for rows, columns in [(1, 1), (5, 40), (64, 1000)]:
        monkeypatch.setattr(lookahead, "BLOCK_BELIEFS", rows)
        monkeypatch.setattr(lookahead, "BLOCK_COLUMNS", columns)
        monkeypatch.setattr(lookahead, "BLOCK_ENTRIES", 1)
        ahead = look_ahead(policy, table=True)
        np.testing.assert_allclose(ahead.action_values(beliefs), expected, atol=1e-12)


@pytest.mark.parametrize("execution", ["lookahead", "vectors"])
def test_policy_takes_any_leading_shape(execution: str) -> None:
    policy = random_policy(3).with_(execution=execution)
    beliefs = np.random.default_rng(1).dirichlet(np.ones(6), size=(2, 5))
    q, probs, actions = (f(beliefs) for f in (policy.action_values, policy.probs, policy.action))
    assert (q.shape, probs.shape, actions.shape) == ((2, 5, 3), (2, 5, 3), (2, 5))
    assert policy.value(beliefs).shape == (2, 5)
    np.testing.assert_allclose(policy.action_values(beliefs[1, 2]), q[1, 2])
    assert policy.action(beliefs[1, 2]) == actions[1, 2]
    assert policy.probs(np.empty((0, 6))).shape == (0, 3)


def test_policy_is_a_restricted_policy() -> None:
    policy: RestrictedPolicy = tiger_policy(method="mine")
    assert isinstance(policy, RestrictedPolicy)
    assert (policy.name, policy.n_states, policy.n_actions) == ("mine", 2, 3)
    assert AlphaVectorPolicy.acts_on == "belief"


def test_actions_without_a_vector_are_never_done() -> None:
    policy = AlphaVectorPolicy(LAST_STEP[[0, 2]], [0, 2], n_actions=3, execution="vectors")
    assert policy.action_values(UNIFORM)[1] == -np.inf
    for temperature in (None, 50.0):
        assert policy.action_probs(UNIFORM, temperature)[1] == 0.0


def test_ties_are_split_evenly_or_given_to_the_first() -> None:
    policy = AlphaVectorPolicy([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], [0, 1, 2], execution="vectors")
    assert policy.probs(UNIFORM).tolist() == [0.5, 0.5, 0.0]
    assert policy.with_(ties="first").probs(UNIFORM).tolist() == [1.0, 0.0, 0.0]
    assert policy.probs(np.array([0.4, 0.6])).tolist() == [1.0, 0.0, 0.0]
    assert policy.action(UNIFORM) == 0


@pytest.mark.parametrize(("off", "tied"), [(1e-7, True), (1e-4, False)])
def test_ties_are_relative_to_the_size_of_the_values(off: float, tied: bool) -> None:
    policy = AlphaVectorPolicy([[1e3], [1e3 - off]], [0, 1], execution="vectors")
    assert policy.probs(np.ones(1)).tolist() == ([0.5, 0.5] if tied else [1.0, 0.0])


def test_ties_of_small_values_are_not_taken_for_equal() -> None:
    policy = AlphaVectorPolicy([[1e-12], [2e-12]], [0, 1], execution="vectors")
    assert policy.probs(np.ones(1)).tolist() == [0.0, 1.0]


def test_temperature_gives_a_softmax_of_action_values() -> None:
    policy = AlphaVectorPolicy([[0.0], [np.log(3.0) * 2.0]], [0, 1], execution="vectors")
    np.testing.assert_allclose(policy.action_probs(np.ones(1), 2.0), [0.25, 0.75])
    np.testing.assert_allclose(policy.with_(temperature=2.0).probs(np.ones(1)), [0.25, 0.75])
    assert policy.with_(temperature=2.0).with_(temperature=None).probs(np.ones(1)).tolist() == [
        0,
        1,
    ]


def test_action_probs_takes_the_policys_own_temperature_unless_told_another() -> None:
    policy = AlphaVectorPolicy(
        [[0.0], [np.log(3.0)]], [0, 1], execution="vectors", temperature=np.float32(1.0)
    )
    np.testing.assert_allclose(policy.action_probs(np.ones(1)), [0.25, 0.75])
    np.testing.assert_allclose(policy.action_probs(np.ones(1), None), [0.25, 0.75])
    np.testing.assert_allclose(policy.action_probs(np.ones(1), 0.5), [0.1, 0.9])
    greedy = policy.with_(temperature=None)
    assert greedy.action_probs(np.ones(1)).tolist() == [0.0, 1.0]
    for wrong in (0.0, -1.0, "hot", float("inf")):
        with pytest.raises(InvalidInputError, match="temperature must be a number > 0"):
            policy.action_probs(np.ones(1), wrong)  # type: ignore[arg-type]


def test_temperature_survives_huge_values() -> None:
    policy = AlphaVectorPolicy([[1e6], [1e6 - 1.0]], [0, 1], execution="vectors", temperature=1.0)
    np.testing.assert_allclose(policy.probs(np.ones(1)), [1 / (1 + np.exp(-1)), 1 / (1 + np.e)])


def test_with_leaves_the_original_as_it_was() -> None:
    policy = tiger_policy()
    changed = policy.with_(execution="vectors", temperature=0.5, ties="first")
    assert (policy.execution, policy.temperature, policy.ties) == ("lookahead", None, "split")
    assert (changed.execution, changed.temperature, changed.ties) == ("vectors", 0.5, "first")
    assert changed.vectors is policy.vectors


def test_vectors_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        tiger_policy().vectors[0, 0] = 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0, 2.0], [0]), {}, "vectors must be a matrix"),
        (([[1.0, 2.0], [1.0]], [0, 1]), {}, "vectors must be an array of numbers"),
        (([["1", "2"]], [0]), {}, "vectors must be an array of numbers"),
        (("x", [0]), {}, "vectors must be an array of numbers"),
        (([[1.0, 2.0]] * 2, [[0], [0, 1]]), {}, "an integer for each of 2 vectors"),
        (([[1.0, 2.0]], [0]), {"n_actions": "3"}, "n_actions must be a whole number ≥ 1"),
        (([[1.0, 2.0]], [0]), {"n_actions": 2.5}, "n_actions must be a whole number ≥ 1"),
        (([[1.0, 2.0]], [0]), {"model": "tiger"}, "model must be a TabularPOMDP; received 'str'"),
        (([[1.0, 2.0]], [0]), {"execution": None}, "unknown execution None"),
        ((np.empty((0, 2)), []), {}, "vectors must be a matrix"),
        (([[1.0, np.nan]], [0]), {}, r"vectors\[0, 1\] must be finite; received nan"),
        (([[1.0, 2.0]], [0, 1]), {}, "an integer for each of 1 vectors"),
        (([[1.0, 2.0]], [0.5]), {}, "an integer for each of 1 vectors"),
        (([[1.0, 2.0]], [-1]), {}, "vector_actions must be ≥ 0"),
        (([[1.0, 2.0]], [2]), {"n_actions": 2}, "vector_actions must be below 2 actions"),
        (([[1.0, 2.0, 3.0]], [0]), {"model": TIGER}, "3 states and 3 actions; the model has 2 st"),
        (([[1.0, 2.0]], [3]), {"model": TIGER}, "2 states and 4 actions; the model has 2 st"),
        (([[1.0, 2.0]], [0]), {"execution": "vector"}, "unknown execution .* mean 'vectors'"),
        (([[1.0, 2.0]], [0]), {"ties": "even"}, "unknown ties"),
        (([[1.0, 2.0]], [0]), {"temperature": 0.0}, "temperature must be a number > 0"),
        (([[1.0, 2.0]], [0]), {"temperature": "hot"}, "temperature must be a number > 0"),
        (([[1.0, 2.0]], [0]), {"temperature": True}, "temperature must be a number > 0"),
    ],
)
def test_policy_refuses(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        AlphaVectorPolicy(*arguments, **options)


def test_policy_refuses_beliefs_of_another_size() -> None:
    with pytest.raises(InvalidInputError, match="2 states on its last axis; received"):
        tiger_policy().probs(np.ones((4, 3)) / 3)


@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0], [0.5, 0.4998]]
)
def test_policy_refuses_what_is_no_belief(wrong: list[float]) -> None:
    policy = tiger_policy()
    for method in (policy.value, policy.action, policy.action_values, policy.action_probs):
        for belief in (wrong, [[0.5, 0.5], wrong]):
            with pytest.raises(
                InvalidInputError, match="belief must be finite, at least 0 and sum"
            ):
                method(np.array(belief))


@pytest.mark.parametrize("wrong", ["left", ["0.5", "0.5"], [[0.5, 0.5], [1.0]], None])
def test_policy_refuses_beliefs_that_are_no_numbers(wrong: Any) -> None:
    policy = tiger_policy()
    for method in (policy.value, policy.action_probs, policy.probs):
        with pytest.raises(InvalidInputError, match="belief must"):
            method(wrong)


def test_policy_takes_beliefs_that_are_rounded() -> None:
    policy = tiger_policy()
    rounded = np.array([0.33335, 0.66667], dtype=np.float32)
    assert policy.action(rounded) == policy.action(np.array([1 / 3, 2 / 3]))
    assert policy.action_probs([1, 0]).tolist() == policy.probs(np.array([1.0, 0.0])).tolist()  # type: ignore[arg-type]


def test_look_ahead_without_a_model_says_what_to_do() -> None:
    policy = AlphaVectorPolicy(LAST_STEP, [0, 1, 2])
    assert policy.value(UNIFORM) == -1.0
    with pytest.raises(InvalidInputError, match=r"with_\(execution='vectors'\)"):
        policy.probs(UNIFORM)


def test_undominated_keeps_one_of_equals_and_drops_the_covered() -> None:
    vectors = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [0.9, -1.0], [0.5, 0.4]])
    assert undominated(vectors).tolist() == [0, 1, 2]
    assert undominated(np.zeros((3, 2))).tolist() == [0]


def saved(tmp_path: Path, **options: Any) -> Path:
    path = tmp_path / "policy.npz"
    tiger_policy(**options).save(path)
    return path


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "execution": "vectors",
        "temperature": 0.5,
        "ties": "first",
        "lower_bound": 1.5,
        "upper_bound": 2.5,
        "method": "pbvi",
        "seconds": 0.25,
        "converged": False,
        "notes": ("stopped by the time limit", "β"),
    }
    loaded = AlphaVectorPolicy.load(saved(tmp_path, **options))
    assert {name: getattr(loaded, name) for name in options} == options
    assert loaded.vectors.tolist() == LAST_STEP.tolist()
    assert loaded.vector_actions.tolist() == [0, 1, 2]
    assert loaded.fingerprint == TIGER.fingerprint()
    assert loaded.gap == 1.0
    assert loaded.model is None


def test_save_and_load_keep_what_is_not_known(tmp_path: Path) -> None:
    loaded = AlphaVectorPolicy.load(saved(tmp_path), TIGER)
    assert [loaded.temperature, loaded.lower_bound, loaded.upper_bound, loaded.seconds] == [
        None
    ] * 4
    assert loaded.notes == ()
    np.testing.assert_array_equal(loaded.probs(UNIFORM), tiger_policy().probs(UNIFORM))


def test_save_leaves_no_other_file_and_replaces_the_old_one(tmp_path: Path) -> None:
    saved(tmp_path)
    path = saved(tmp_path, method="second")
    assert list(tmp_path.iterdir()) == [path]
    assert AlphaVectorPolicy.load(path).method == "second"


def test_save_into_no_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"p\.npz cannot be written: there is no folder .*none"
    ):
        tiger_policy().save(tmp_path / "none" / "p.npz")


def test_save_that_fails_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)

    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFailedError, match="could not be written: No space left"):
        tiger_policy(method="second").save(path)
    assert AlphaVectorPolicy.load(path).method == "alpha vectors"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["policy.txt", "policy.npy", "policy"])
def test_save_and_load_refuse_other_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="must be named .npz"):
        tiger_policy().save(tmp_path / name)
    with pytest.raises(InvalidInputError, match="must be named .npz"):
        AlphaVectorPolicy.load(tmp_path / name)


def test_load_accepts_another_model_of_the_same_size_and_notes_it(tmp_path: Path) -> None:
    other = imm_rl.make("tiger(accuracy=0.7)").model
    loaded = AlphaVectorPolicy.load(saved(tmp_path), other)
    assert loaded.notes == ("solved for another model of the same size",)
    assert AlphaVectorPolicy.load(saved(tmp_path), TIGER).notes == ()


def test_load_notes_another_model_once_and_only_while_it_is_another(tmp_path: Path) -> None:
    other = imm_rl.make("tiger(accuracy=0.7)").model
    path = saved(tmp_path, notes=("mine",))
    for _ in range(3):
        loaded = AlphaVectorPolicy.load(path, other)
        assert loaded.notes == ("mine", "solved for another model of the same size")
        loaded.save(path)
    assert AlphaVectorPolicy.load(path, TIGER).notes == ("mine",)
    assert AlphaVectorPolicy.load(path).notes == ("mine",)


def test_load_refuses_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match="^model must be a TabularPOMDP; received 'EnvPair'"
    ):
        AlphaVectorPolicy.load(saved(tmp_path), imm_rl.make("tiger"))  # type: ignore[arg-type]


def test_load_refuses_a_model_of_another_size(tmp_path: Path) -> None:
    cheese = imm_rl.make("cheese").model
    match = "is for 2 states and 3 actions; the model has 11 states and 4 actions"
    with pytest.raises(InvalidInputError, match=match):
        AlphaVectorPolicy.load(saved(tmp_path), cheese)


def test_load_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must exist; received"):
        AlphaVectorPolicy.load(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_load_refuses_what_is_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="must be an .npz of plain arrays"):
        AlphaVectorPolicy.load(path)


def test_load_refuses_a_plain_array(tmp_path: Path) -> None:
    with (tmp_path / "policy.npz").open("wb") as file:
        np.save(file, LAST_STEP)
    with pytest.raises(InvalidInputError, match="must be an .npz of plain arrays"):
        AlphaVectorPolicy.load(tmp_path / "policy.npz")


def changed(path: Path, **entries: Any) -> Path:
    with np.load(path) as archive:
        content = dict(archive)
    content.update(entries)
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"vectors": None}, r"hold the entries \['vectors'\]"),
        ({"format": "imm-rl alpha vectors 9"}, "must be 'imm-rl alpha vectors 1'"),
        ({"vectors": np.array([[1.0, np.nan]] * 3)}, r"vectors\[0, 1\] must be finite"),
        ({"vectors": np.array(["a", "b"])}, "wrong entry"),
        ({"vector_actions": np.array([0, 1])}, "an integer for each of 3 vectors"),
        ({"execution": "sideways"}, "unknown execution"),
        ({"n_actions": np.array([3, 3])}, "wrong entry"),
    ],
)
def test_load_refuses_wrong_entries(tmp_path: Path, entries: Any, message: str) -> None:
    path = changed(saved(tmp_path), **entries)
    with pytest.raises(InvalidInputError, match=message) as caught:
        AlphaVectorPolicy.load(path)
    assert str(path) in str(caught.value)


def test_load_does_not_unpickle(tmp_path: Path) -> None:
    path = changed(saved(tmp_path), notes=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidInputError, match="must be an .npz of plain arrays"):
        AlphaVectorPolicy.load(path)
