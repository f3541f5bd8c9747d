"""Pictures: what a scene may show, and that each part of it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imm_rl.envs import EnvPair, make, names, render
from imm_rl.envs.canvas import GOLD, PAPER, Canvas, mix
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.render import HEIGHT, WIDTH, Scene
from imm_rl.errors import InvalidInputError


def generic(n_states: int, n_actions: int = 2, n_observations: int = 3) -> EnvPair:
    """A pair without a drawing of its own, as a .POMDP file gives."""
    rng = np.random.default_rng(0)
    model = TabularPOMDP(
        np.full((n_states, n_actions, n_states), 1.0 / n_states),
        rng.dirichlet(np.ones(n_observations), size=(n_actions, n_states)),
        np.zeros((n_states, n_actions)),
        np.full(n_states, 1.0 / n_states),
        0.9,
    )
    return EnvPair("generic", model)


PAIRS = {name: make(name) for name in names()} | {
    "few": generic(3),
    "many": generic(40),
    "very many": generic(900),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_frame_shows_state_observation_and_action(name: str, mode: Any) -> None:
    """Changing any one of them changes the frame, in the full view."""
    pair = PAIRS[name]
    base = Scene(pair, 0, 0, 0)
    scenes = [base, base._replace(state=1), base._replace(observation=1), base._replace(action=1)]
    scenes += [base._replace(observation=None), base._replace(action=None)]
    frames = [render.frame(scene, mode) for scene in scenes]
    assert len({str(f) if mode == "ansi" else np.asarray(f).tobytes() for f in frames}) == 6


@pytest.mark.parametrize("name", PAIRS)
def test_restricted_frames_name_no_state(name: str) -> None:
    """States' names may only stand in a restricted frame where an observation is called the same."""
    pair = PAIRS[name]
    text = render.ansi(Scene(pair, None, 1, 0))
    assert "restricted view" in text
    assert "state:" not in text
    assert "state:" in render.ansi(Scene(pair, 1, 1, 0))


@pytest.mark.parametrize("n_states", [3, 60])
def test_hidden_states_are_question_marks_however_many(
    n_states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of the model's two actions and three observations are numbers, too."""
    written: list[str] = []
    monkeypatch.setattr(Canvas, "text", lambda self, x, y, words, *_, **__: written.append(words))

    render.rgb(Scene(generic(n_states), None, 1, 0))

    assert "state: hidden" in written
    assert written.count("?") == n_states
    assert [words for words in written if words.isdigit()] == ["0", "1", "0", "1", "2"]
    written.clear()
    render.rgb(Scene(generic(60), 7, 1, 0))
    assert [words for words in written if words.isdigit()][:60] == [str(i) for i in range(60)]


def test_ansi_of_the_grid_by_hand() -> None:
    pair = make("grid", size=3)
    full = Scene(pair, pair.model.state_names.index("x2-y1"), 2, 3)
    assert render.ansi(full) == (
        "grid, full view\n...\n..@\n...\naction: RIGHT   observation: x2   state: x2-y1\n"
    )
    restricted = full._replace(state=None)
    assert render.ansi(restricted) == (
        "grid, restricted view\n..?\n..?\n..?\naction: RIGHT   observation: x2\n"
    )


def test_ansi_of_the_cheese_maze_marks_what_looks_alike() -> None:
    pair = make("cheese")
    seen = pair.model.observation_names.index("walls-EW")
    assert render.ansi(Scene(pair, None, seen, 1)).splitlines()[1:6] == [
        "#######",
        "#.....#",
        "#?#?#?#",
        "#.#*#.#",
        "#######",
    ]


def test_ansi_of_tiger_and_baby_by_hand() -> None:
    tiger, baby = make("tiger"), make("crying-baby")
    assert render.ansi(Scene(tiger, 0, 1, 0)).splitlines()[1] == "|T|   o)> |$|"
    assert render.ansi(Scene(tiger, None, 1, 2)).splitlines()[1] == "|?|   o   [?]"
    assert render.ansi(Scene(baby, 1, 1, 1)).splitlines()[1] == "( > < )  waah!"
    assert render.ansi(Scene(baby, None, 0, 0)).splitlines()[1] == "( . . )  (quiet)"


def test_caption_says_where_an_episode_ended(corridor: TabularPOMDP) -> None:
    scene = Scene(EnvPair("corridor", corridor), 2, 1, 0)
    assert render.caption(scene) == "action: go   observation: exit   state: end (end)"
    assert render.caption(scene._replace(state=None, observation=None, action=None)) == (
        "observation: nothing yet"
    )


def test_lookalikes_are_the_states_that_may_have_been_seen(corridor: TabularPOMDP) -> None:
    assert render.lookalikes(corridor, 0).tolist() == [True, True, False]
    assert render.lookalikes(corridor, 1).tolist() == [False, False, True]
    assert render.lookalikes(corridor, None).tolist() == [True, False, False]  # may start there


def test_lookalikes_are_alike_dense_and_sparse() -> None:
    large = make("grid", size=32).model
    assert large.is_sparse
    found = render.lookalikes(large, 5)
    assert {large.state_names[s].split("-")[0] for s in np.flatnonzero(found)} == {"x5"}
    assert found.sum() == 32


def test_grid_picture_puts_the_agent_in_its_cell() -> None:
    pair = make("grid", size=3)
    with_agent = render.rgb(Scene(pair, pair.model.state_names.index("x2-y0"), 2, 3))
    elsewhere = render.rgb(Scene(pair, pair.model.state_names.index("x0-y2"), 2, 3))
    rows, columns = np.nonzero((with_agent != elsewhere).any(axis=2))
    drawing = rows < 352
    # What differs above the caption lies in the upper right and the lower left cell only.
    upper = rows[drawing] < HEIGHT / 2
    assert (columns[drawing][upper] > WIDTH / 2).all()
    assert (columns[drawing][~upper] < WIDTH / 2).all()
    assert upper.any()
    assert (~upper).any()


def test_frame_without_a_mode_says_so() -> None:
    with pytest.raises(InvalidInputError, match="render_mode must be 'ansi' or 'rgb_array'"):
        render.frame(Scene(make("tiger"), 0, None, None), None)


def test_canvas_draws_where_it_is_told() -> None:
    sheet = Canvas(40, 20)
    sheet.box(10, 5, 10, 10, GOLD)
    pixels = sheet.pixels()
    assert pixels.shape == (20, 40, 3)
    assert tuple(pixels[10, 15]) == GOLD
    assert tuple(pixels[10, 30]) == tuple(pixels[2, 15]) == PAPER


def test_canvas_makes_words_fit() -> None:
    sheet = Canvas(200, 20)
    sheet.text(5, 10, "a rather long line of words", 14, anchor="lm", fit=100)
    assert (sheet.pixels()[:, 107:] == PAPER).all()
    assert (sheet.pixels()[:, :105] != PAPER).any()


def test_mix_goes_from_one_colour_to_the_other() -> None:
    assert mix((0, 100, 200), (100, 0, 200), 0.25) == (25, 75, 200)
