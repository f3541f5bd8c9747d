"""RockSample: its rules by hand, its published layouts, its size, its pictures, the archive's file."""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.envs import make, render, stacks
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.render import Scene
from imm_rl.envs.sampler import Sampler
from imm_rl.errors import InvalidInputError


def dense(matrix: Any) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


def after(model: TabularPOMDP, state: str, action: str) -> tuple[str, float]:
    """Where an action surely leads, and what it pays."""
    s, a = model.state_names.index(state), model.action_names.index(action)
    row = dense(model.transition_of(a)[[s]])[0]
    assert row.max() == 1.0
    return model.state_names[int(row.argmax())], float(model.reward[s, a])


def chance_of_good(model: TabularPOMDP, state: str, action: str) -> float:
    s, a = model.state_names.index(state), model.action_names.index(action)
    return float(model.observation_of(a)[s, 0])


@pytest.mark.parametrize(
    ("state", "action", "end", "pay"),
    [
        ("s020110", "amn", "s030110", 0.0),
        ("s020110", "ame", "s120110", 0.0),
        ("s020110", "ams", "s010110", 0.0),
        ("s020110", "amw", "st", -100.0),
        ("s030110", "amn", "st", -100.0),
        ("s100110", "ams", "st", -100.0),
        ("s320110", "ame", "st", 10.0),
        ("s330110", "ame", "st", 10.0),
        ("s311001", "as", "s310001", 10.0),  # rock 0 in (3, 1), good
        ("s310001", "as", "s310001", -10.0),  # the same, bad by now
        ("s131111", "as", "s131101", 10.0),  # rock 2 in (1, 3)
        ("s101110", "as", "s101110", -10.0),  # rock 3 in (1, 0), bad
        ("s221111", "as", "st", -100.0),  # no rock there
        ("s221010", "ac0", "s221010", 0.0),
        ("s221010", "ac3", "s221010", 0.0),
        ("st", "ame", "st", 0.0),
        ("st", "as", "st", 0.0),
    ],
)
def test_rocksample_moves_and_pays(state: str, action: str, end: str, pay: float) -> None:
    assert after(make("rocksample").model, state, action) == (end, pay)


def test_rocksample_starts_in_the_west_with_any_rocks() -> None:
    model = make("rocksample").model
    possible = {model.state_names[s]: p for s, p in enumerate(model.initial) if p}
    assert possible == {f"s02{q:04b}": 1 / 16 for q in range(16)}
    assert model.action_names == ("amn", "ame", "ams", "amw", "ac0", "ac1", "ac2", "ac3", "as")
    assert np.flatnonzero(model.terminal).tolist() == [256]
    assert model.discount == 0.95


@pytest.mark.parametrize(
    ("spec", "state", "action", "chance"),
    [
        ("rocksample", "s311000", "ac0", 1.0),  # on the rock
        ("rocksample", "s310111", "ac0", 0.0),
        ("rocksample", "s211000", "ac0", (1 + math.exp(-1)) / 2),  # one cell off: η = 1/e
        ("rocksample", "s000000", "ac0", (1 - math.exp(-math.sqrt(10))) / 2),
        ("rocksample(5,5)", "s2011111", "ac0", 0.75),  # four cells off, d0 = 4: η = 1/2
        ("rocksample(5,5)", "s2001111", "ac0", 0.25),
        ("rocksample(5,7)", "s421000000", "ac0", (1 + 2 ** (-math.sqrt(13) / 20)) / 2),
        ("rocksample(7,8)", "s0301000000", "ac1", (1 + 2**-0.1) / 2),  # two cells off, d0 = 20
        ("rocksample(4,4,half_efficiency_distance=2)", "s300110", "ac3", 0.25),
        ("rocksample", "s211000", "amn", 1.0),  # other actions say "good", whatever is
        ("rocksample", "s210000", "as", 1.0),
        ("rocksample", "st", "ac0", 1.0),
    ],
)
def test_rocksample_sensor_fades_with_distance(
    spec: str, state: str, action: str, chance: float
) -> None:
    assert chance_of_good(make(spec).model, state, action) == pytest.approx(chance, abs=1e-12)


@pytest.mark.parametrize(
    ("spec", "n_states", "start", "rocks"),
    [
        ("rocksample(4,4)", 257, "s02", "31 21 13 10"),
        ("rocksample(5,5)", 801, "s02", "24 04 33 22 41"),
        ("rocksample(5,7)", 3_201, "s02", "10 21 12 22 42 03 34"),
        ("rocksample(7,8)", 12_545, "s03", "20 01 31 63 24 34 55 16"),
        ("rocksample(10,10)", 102_401, "s05", "03 07 18 33 38 43 58 61 93 99"),
    ],
)
def test_rocksample_has_the_published_layouts(
    spec: str, n_states: int, start: str, rocks: str
) -> None:
    model = make(spec).model
    places = rocks.split()
    assert model.n_states == n_states
    assert (model.n_actions, model.n_observations) == (len(places) + 5, 2)
    first = model.state_names[int(np.flatnonzero(model.initial)[0])]
    assert first == start + "0" * len(places)
    worth = {}  # sampling a good rock pays where it lies, and nowhere else
    good = np.flatnonzero(model.reward[:, -1] == 10.0)
    for s in good:
        worth.setdefault(model.state_names[s][1:3], []).append(s)
    assert sorted(worth) == sorted(places)
    for i, place in enumerate(places):
        bits = "".join("1" if j == i else "0" for j in range(len(places)))
        assert after(model, f"s{place}{bits}", "as") == (f"s{place}{'0' * len(places)}", 10.0)


def test_rocksample_7_8_is_built_sparse_and_fast() -> None:
    tracemalloc.start()
    begun = time.process_time()  # of the processor: other programs run on this machine
    model = make("rocksample(7,8)").model
    seconds = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.is_sparse
    assert all(model.transition_of(a).nnz == model.n_states for a in range(13))  # type: ignore[union-attr]
    assert peak < 100e6  # one dense S × S matrix would be 1,259 MB
    assert seconds < 4.0


def test_rocksample_is_alike_dense_and_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    small = make("rocksample").model
    monkeypatch.setattr(stacks, "DENSE_UP_TO", 0)
    sparse = make("rocksample").model
    assert (small.is_sparse, sparse.is_sparse) == (False, True)
    for a in range(small.n_actions):
        np.testing.assert_array_equal(small.transition_of(a), dense(sparse.transition_of(a)))
        np.testing.assert_array_equal(small.observation_of(a), dense(sparse.observation_of(a)))
    rng = np.random.default_rng(0)
    states, actions = rng.integers(257, size=500), rng.integers(9, size=500)
    uniforms, more = rng.random(500), rng.random(500)
    steps = [Sampler(m).step(states, actions, uniforms, more) for m in (small, sparse)]
    for one, other in zip(*steps, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rocksample_takes_positions_and_seeds() -> None:
    given = make("rocksample(3, 2, rock_positions=[[0, 1], [2, 2]])").model
    assert after(given, "s2211", "as") == ("s2210", 10.0)
    assert after(given, "s0111", "as") == ("s0101", 10.0)
    drawn = make("rocksample", size=6, rocks=3, seed=5).model
    cells = np.random.default_rng(5).choice(36, 3, replace=False)
    for i, cell in enumerate(cells):
        bits = "".join("1" if j == i else "0" for j in range(3))
        state = f"s{cell // 6}{cell % 6}"
        assert after(drawn, state + bits, "as") == (state + "000", 10.0)
    same = make("rocksample", size=6, rocks=3, seed=5).model
    other = make("rocksample", size=6, rocks=3, seed=6).model
    assert drawn.fingerprint() == same.fingerprint() != other.fingerprint()
    # Elsewhere than on a published layout d0 is 20.
    spot = make("rocksample(4, 1, [[3, 2]])").model
    assert chance_of_good(spot, "s121", "ac0") == pytest.approx((1 + 2**-0.1) / 2)


def test_rocksample_names_tell_cells_apart_on_large_maps() -> None:
    model = make("rocksample(12, 1, [[11, 1]])").model
    assert len(set(model.state_names)) == 12 * 12 * 2 + 1
    assert after(model, "s11-1-1", "as") == ("s11-1-0", 10.0)
    assert after(model, "s1-11-1", "as") == ("st", -100.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "rocksample(6, 6)",
            r"no published layout; those are \(4,4\), .*Give rock_positions=\[\[x",
        ),
        ("rocksample(0, 4)", "size must be a whole number ≥ 1; received 0"),
        ("rocksample(4, 0)", "rocks must be a whole number ≥ 1; received 0"),
        ("rocksample(50, 12)", "must give at most 2,000,000 states.*received 10240001"),
        ("rocksample(4, 1000000000000)", "must give at most 2,000,000 states"),
        ("rocksample(4, 2, [[0, 0]])", r"rock_positions must be 2 cells \(x, y\), one a rock"),
        ("rocksample(4, 2, [[0, 0], [0, 0]])", "rock_positions must be different cells"),
        ("rocksample(4, 2, [[0, 0], [0, 4]])", r"rock_positions must be in \[0, 4\); received 4"),
        ("rocksample(4, 2, [[0, 0], [0]])", r"rock_positions must be whole numbers in \[0, 4\)"),
        ("rocksample(4, 2, [[0, 0], [0, 1.5]])", "rock_positions must be whole numbers"),
        ("rocksample(4, 2, [[0, 0], [0, 1]], 3)", "seed must not be given with rock_positions"),
        ("rocksample(4, 2, seed=-1)", "seed must be a whole number ≥ 0; received -1"),
        ("rocksample(2, 5, seed=1)", "rocks must be at most the 4 cells; received 5"),
        ("rocksample(half_efficiency_distance=0)", "half_efficiency_distance must be a positive"),
    ],
)
def test_rocksample_says_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(spec)


def test_rocksample_equals_the_archive(shared_data: Path) -> None:
    """The file rounds the sensor's chances to six decimals; everything else is exact."""
    ours, archive = (
        make("rocksample").model,
        TabularPOMDP.load(shared_data / "pomdp" / "RockSample_4_4.POMDP"),
    )
    for part in ("state_names", "action_names", "observation_names", "discount"):
        assert getattr(ours, part) == getattr(archive, part)
    for part in ("transition", "reward", "initial", "terminal"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(archive, part), err_msg=part)
    np.testing.assert_allclose(ours.observation, archive.observation, rtol=0, atol=5.1e-7)


def test_rocksample_comes_back_from_a_file_as_it_was(tmp_path: Path) -> None:
    model = make("rocksample(5,5)").model
    model.save(tmp_path / "rocks.POMDP")
    again = TabularPOMDP.load(tmp_path / "rocks.POMDP")
    assert again.is_sparse
    assert again.fingerprint() == model.fingerprint()


# --- pictures ------------------------------------------------------------------------------------


def scene(state: str | None, action: str | None, observation: str | None) -> Scene:
    pair = make("rocksample")
    model = pair.model
    return Scene(
        pair,
        None if state is None else model.state_names.index(state),
        None if observation is None else model.observation_names.index(observation),
        None if action is None else model.action_names.index(action),
    )


def test_rocksample_text_by_hand() -> None:
    lines = render.ansi(scene("s120101", "ac1", "ogood")).splitlines()
    assert lines[1:5] == [" .  2- .  . >", " . @.  .  . >", " .  .  1+ 0->", " .  3+ .  . >"]
    lines = render.ansi(scene(None, "ac1", "ogood")).splitlines()
    assert lines[1:5] == [" .  2? .  . >", " .  .  .  . >", " .  .  1? 0?>", " .  3? .  . >"]


def test_rocksample_picture_shows_quality_by_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every colour the same, good and bad rocks still look different."""
    shape, disc = Canvas.shape, Canvas.disc
    grey = (128, 128, 128)
    monkeypatch.setattr(Canvas, "shape", lambda self, points, fill: shape(self, points, grey))
    monkeypatch.setattr(
        Canvas,
        "disc",
        lambda self, x, y, radius, fill, **more: disc(self, x, y, radius, grey, **more),
    )
    good, bad = (render.rgb(scene(f"s02{q}000", None, None)) for q in "10")
    rows, columns = np.nonzero((good != bad).any(axis=2)[:352])
    assert rows.size > 100
    # Rock 0 lies in the east, in the lower half; nothing else changes.
    assert columns.min() > 290
    assert rows.min() > 200


def test_rocksample_picture_shows_what_a_check_said_in_both_views() -> None:
    for state in ("s020000", None):
        said = [render.rgb(scene(state, "ac3", seen))[:352] for seen in ("ogood", "obad")]
        unchecked = render.rgb(scene(state, "amn", "ogood"))[:352]
        assert (said[0] != said[1]).any()
        assert (said[0] != unchecked).any()
