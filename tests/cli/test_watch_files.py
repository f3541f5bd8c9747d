from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from stable_baselines3 import A2C

import imm_rl
from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.cli import watch_files, watch_map_panels
from imm_rl.envs import canvas, render_beliefs

Command = Callable[..., Any]


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    opens = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    StatePolicy(opens, {"env": "tiger"}).save("tiger.zip")
    StatePolicy(np.full((11, 4), [0.1, 0.2, 0.3, 0.4]), {"env": "4x3"}).save("4x3.zip")
    AlphaVectorPolicy([[0.0, 0.0]], [0], n_actions=3, method="listens").save("listens.npz")
    return tmp_path


def test_watch_writes_a_gif_with_a_frame_for_each_moment(
    imm_rl_command: Command, at_home: Path
) -> None:
    words = ["--steps", "3", "--episodes", "2", "--fps", "5", "--restricted", "listens.npz"]
    outcome = imm_rl_command("watch", "tiger.zip", "--out", "t.gif", *words)

    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "8 frames in t.gif"
    durations = []
    with Image.open("t.gif") as film:
        assert (film.n_frames, film.size) == (8, (960, 616))
        for k in range(8):
            film.seek(k)
            durations.append(film.info["duration"])
        film.seek(0)
        colours = np.array(film.convert("RGB")).reshape(-1, 3)
    assert durations == [200, 200, 200, 1500] * 2
    for colour in (canvas.ORANGE, canvas.TEAL):  # the agent's bar and the restricted policy's
        assert (np.abs(colours - colour).max(axis=1) < 16).sum() > 500


def test_watch_writes_a_sheet_of_stills(imm_rl_command: Command, at_home: Path) -> None:
    outcome = imm_rl_command("watch", "4x3.zip", "--out", "t.png", "--steps", "9")

    assert outcome.out.splitlines()[-1] == "6 of 10 steps in t.png"
    with Image.open("t.png") as sheet:
        assert sheet.size == (2 * 960 + 12, 3 * 616 + 2 * 12)


@pytest.mark.parametrize(("count", "wanted"), [(1, [0]), (4, [0, 1, 2, 3]), (500, None)])
def test_sheet_of_stills_is_spread_from_the_first_frame_to_the_last(
    tmp_path: Path, count: int, wanted: list[int] | None
) -> None:
    played = ((None, np.full((2, 3, 3), k // 2, dtype=np.uint8)) for k in range(count))
    watch_files._sheet(tmp_path / "s.png", played)  # type: ignore[arg-type]

    with Image.open(tmp_path / "s.png") as sheet:
        pixels = np.array(sheet)[..., 0]
    found = [int(v) for row in pixels[::14] for v in row[::15]][:6]
    if wanted is None:
        assert found[0] == 0
        assert found[-1] == 249
        np.testing.assert_allclose(np.diff(found), 50, atol=10)
    else:
        assert found[:count] == [k // 2 for k in wanted]


def test_gif_of_too_many_frames_is_refused_and_leaves_no_file(
    imm_rl_command: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_files, "MOST_GIF_FRAMES", 2)
    outcome = imm_rl_command("watch", "tiger.zip", "--out", "t.gif", "--steps", "5")

    assert outcome.code == 2
    assert "at most 2 frames" in outcome.err
    assert not list(at_home.glob("*.gif*"))


@pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed"
)
def test_watch_writes_an_mp4_that_decodes(imm_rl_command: Command, at_home: Path) -> None:
    import imageio_ffmpeg

    outcome = imm_rl_command("watch", "tiger.zip", "--out", "t.mp4", "--steps", "3", "--fps", "2")

    assert outcome.code == 0, outcome.err
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", "t.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*decode, "-"], check=True, capture_output=True)
    frames = np.frombuffer(raw.stdout, dtype=np.uint8).reshape(-1, 616, 960, 3)
    assert len(frames) == 4
    assert b"2 fps" in raw.stderr
    assert frames[0].mean() > 100  # light paper
    assert (frames[0] != frames[1]).any()


def test_watch_says_what_an_mp4_needs(
    imm_rl_command: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    outcome = imm_rl_command("watch", "tiger.zip", "--out", "t.mp4")

    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert 'pip install "imm-rl[video]"' in outcome.err


class Counter(gymnasium.Env[Any, Any]):
    """Counts to 3; its picture is as bright as the count; one action does nothing but add."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, *, draws: bool = True) -> None:
        self.render_mode, self.draws, self.count = render_mode, draws, 0
        self.observation_space = gymnasium.spaces.Box(0.0, 9.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2, start=1)

    def _seen(self) -> Any:
        return np.array([self.count, 9 - self.count], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return self._seen(), 0.5 * float(action), self.count == 3, False, {}

    def render(self) -> Any:
        if not self.draws:
            raise gymnasium.error.DependencyNotInstalled("pygame is not installed, run `pip ...`")
        return np.full((10, 20, 3), 60 * self.count, dtype=np.uint8)


@pytest.fixture
def counter(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A spec of Counter, and agent.zip and view.zip of both of its views."""
    (at_home / "counting.py").write_text("made = None\nblind = None\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(at_home))
    import counting  # type: ignore[import-not-found]

    def made(render_mode: str | None = None) -> Counter:
        return Counter(render_mode)

    def blind(render_mode: str | None = None) -> Counter:
        return Counter(render_mode, draws=False)

    monkeypatch.setattr(counting, "made", made)
    monkeypatch.setattr(counting, "blind", blind)
    spec = "counting:made(observe=[1])"
    pair = imm_rl.make(spec)
    small: dict[str, Any] = {"device": "cpu", "policy_kwargs": {"net_arch": [4]}, "seed": 1}
    A2C("MlpPolicy", pair.sb3_vector(1), **small).save("agent.zip")
    A2C("MlpPolicy", pair.sb3_vector(1, "pomdp"), **small).save("view.zip")
    return spec


def test_watch_shows_a_gymnasium_environment_beside_its_features(
    imm_rl_command: Command, counter: str
) -> None:
    words = ["agent.zip", "--env", counter, "--restricted", "view.zip"]
    out = imm_rl_command("watch", *words).out
    film = imm_rl_command("watch", *words, "--out", "c.gif")

    assert [line for line in out.splitlines() if line.startswith("restricted view")] == [
        f"restricted view: feature 1 {value}.000" for value in (9, 8, 7, 6)
    ]
    # "next action" and "action:" say what the numbers are.
    assert sum(line.startswith(("► 1 ", "► 2 ")) for line in out.splitlines()) == 3
    assert sum(line in ("action: 1", "action: 2") for line in out.splitlines()) == 3
    assert "action 1" not in out
    assert "action 2" not in out
    assert "restricted (view)" in out
    assert out.rstrip().splitlines()[-3].endswith("the end")
    assert film.out.splitlines()[-1] == "4 frames in c.gif"
    with Image.open("c.gif") as picture:
        for k in range(4):
            picture.seek(k)
            assert picture.info["duration"] == (1500 if k == 3 else 140)  # hundredths of a second
            middle = np.array(picture.convert("RGB"))[208, 240]
            np.testing.assert_allclose(middle, 60 * k, atol=6)


def test_watch_of_an_environment_that_cannot_draw_says_so(
    imm_rl_command: Command, counter: str
) -> None:
    spec = counter.replace("made", "blind")
    outcome = imm_rl_command("watch", "agent.zip", "--env", spec, "--out", "c.gif")

    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "cannot be drawn: pygame is not installed" in outcome.err
    assert not Path("c.gif").exists()
    assert imm_rl_command("watch", "agent.zip", "--env", spec).code == 0


def test_watch_refuses_a_policy_of_a_view_that_there_is_not(
    imm_rl_command: Command, counter: str
) -> None:
    words = ["agent.zip", "--env", "counting:made", "--restricted", "view.zip"]
    outcome = imm_rl_command("watch", *words)

    assert outcome.code == 2
    assert "acts on a restricted view" in outcome.err


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, which their files no longer tell of."""
    kept: list[Figure] = []
    saved = Figure.savefig

    def watched(figure: Figure, *arguments: Any, **options: Any) -> None:
        kept.append(figure)
        saved(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", watched)
    return kept


def solved(name: str, table: Any) -> Any:
    """Values of a policy by a linear solve that is written out here."""
    model = imm_rl.make(name).model
    stays = np.zeros((model.n_states, model.n_states))
    earned = np.zeros(model.n_states)
    for s in range(model.n_states):
        for a in range(model.n_actions):
            stays[s] += table[s, a] * model.transition[s, a]
            earned[s] += table[s, a] * model.reward[s, a]
    return np.linalg.solve(np.eye(model.n_states) - model.discount * stays, earned)


def test_map_shows_values_of_the_policy_and_the_belief(
    imm_rl_command: Command, at_home: Path, drawn: list[Figure]
) -> None:
    outcome = imm_rl_command("watch", "4x3.zip", "--map", "--out", "m.png", "--steps", "3")

    assert outcome.code == 0, outcome.err
    assert "policy, values and the belief after 3 steps of seed 0 in m.png" in outcome.out
    with Image.open("m.png") as picture:
        assert min(picture.size) > 300
    policy, _, values, value_bar, belief, belief_bar = drawn[0].axes
    table = StatePolicy.load("4x3.zip").table
    np.testing.assert_allclose(values.collections[0].get_array(), solved("4x3", table), rtol=1e-9)
    assert value_bar.get_xlabel() == "discounted reward to come (γ = 0.95)"
    chances = belief.collections[0].get_array()
    assert chances.sum() == pytest.approx(1.0)
    assert belief_bar.get_xlabel() == "probability of being there"
    assert belief.get_title().startswith("belief after 3 steps, seeing ")
    arrows = policy.collections[1]
    assert len(arrows.U) == 4 * 11
    lengths = np.hypot(arrows.U, arrows.V)
    np.testing.assert_allclose(
        lengths[:4], watch_map_panels.REACH[False] * np.array([0.1, 0.3, 0.2, 0.4])
    )


def test_map_deterministic_draws_the_likeliest_action_alone(
    imm_rl_command: Command, at_home: Path, drawn: list[Figure]
) -> None:
    words = ["4x3.zip", "--map", "--out", "m.svg", "--deterministic"]
    assert imm_rl_command("watch", *words).code == 0

    arrows = drawn[0].axes[0].collections[1]
    np.testing.assert_allclose(arrows.U, -watch_map_panels.REACH[False] * np.ones(11))  # west
    table = np.eye(4)[np.full(11, 3)]
    found = drawn[0].axes[2].collections[0].get_array()
    np.testing.assert_allclose(found, solved("4x3", table), rtol=1e-9)


def test_map_of_a_maze_with_headings_has_a_triangle_a_pose_and_hollow_turns(
    imm_rl_command: Command, at_home: Path, drawn: list[Figure]
) -> None:
    model = imm_rl.make("mini-hall2").model
    StatePolicy(np.full((13, 3), [0.5, 0.25, 0.25]), {"env": "mini-hall2"}).save("m.zip")

    assert imm_rl_command("watch", "m.zip", "--map", "--out", "m.pdf").code == 0
    policy, _, values, *_ = drawn[0].axes
    assert sorted({len(path.vertices) for path in values.collections[0].get_paths()}) == [4, 5]
    moves, turns = policy.collections[1:3]
    assert (len(moves.U), len(turns.U)) == (12, 24)
    assert model.state_names[12] == "goal"  # from where no action leads to a side
    np.testing.assert_allclose(turns.get_facecolor(), [[1.0, 1.0, 1.0, 1.0]])


def test_map_of_a_hidden_goal_shows_the_states_that_share_it(
    imm_rl_command: Command, at_home: Path, drawn: list[Figure]
) -> None:
    pair = imm_rl.make("tmaze")
    table = np.full((pair.model.n_states, 4), 0.25)
    StatePolicy(table, {"env": "tmaze"}).save("t.zip")

    assert imm_rl_command("watch", "t.zip", "--map", "--out", "m.png", "--steps", "2").code == 0
    values, belief = drawn[0].axes[2], drawn[0].axes[4]
    half = pair.model.n_states // 2
    found = values.collections[0].get_array()
    parts = np.split(solved("tmaze", table), 2)
    assert len(found) == half
    assert any(np.allclose(found, part) for part in parts)
    assert "states like goal-" in drawn[0].get_suptitle()
    assert belief.collections[0].get_array().sum() == pytest.approx(1.0)  # of both goals


def words_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written on canvases from now on, each a line."""
    written: list[str] = []
    plain = canvas.Canvas.text

    def text(self: canvas.Canvas, x: float, y: float, words: str, *rest: Any, **more: Any) -> None:
        written.append(words)
        plain(self, x, y, words, *rest, **more)

    monkeypatch.setattr(canvas.Canvas, "text", text)
    return written


def test_sheet_says_how_likely_the_states_are_that_it_leaves_out(
    imm_rl_command: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the grid 11 states of a column look alike; on tiger there are two, and none is left out."""
    StatePolicy(np.full((121, 4), 0.25), {"env": "grid"}).save("grid.zip")
    written = words_of(monkeypatch)

    assert imm_rl_command("watch", "grid.zip", "--out", "g.png", "--steps", "1").code == 0
    at = written.index("6 others")
    listed = written[at - 10 : at + 2]  # names and probabilities, in turn
    assert len(set(listed[::2])) == 6
    assert sum(map(float, listed[1::2])) == pytest.approx(1.0, abs=0.003)
    assert float(listed[-1]) == pytest.approx(6 / 11, abs=0.001)

    written.clear()
    assert imm_rl_command("watch", "tiger.zip", "--out", "t.png", "--steps", "1").code == 0
    assert not [words for words in written if words.endswith("others")]


def test_sheet_says_how_many_actions_it_leaves_out(
    imm_rl_command: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = imm_rl.make("rocksample")
    table = np.full((pair.model.n_states, pair.model.n_actions), 1.0 / pair.model.n_actions)
    assert table.shape[1] > 6
    StatePolicy(table, {"env": "rocksample"}).save("r.zip")
    written = words_of(monkeypatch)

    assert imm_rl_command("watch", "r.zip", "--out", "r.png", "--steps", "1").code == 0
    assert f"and {table.shape[1] - 5} that are less likely" in written


def test_heat_map_is_brightest_where_one_most_likely_is() -> None:
    pair = imm_rl.make("4x3")
    belief = np.zeros(11)
    belief[[0, 3]] = 0.2, 0.8
    picture = render_beliefs.picture(pair, belief, "left")
    assert picture is not None
    bright = (np.abs(picture.astype(int) - render_beliefs.shade(1.0)).max(axis=2) < 3).nonzero()
    board = bright[0] > 60  # below the colour bar of the title
    assert bright[1][board].min() > 300  # cell 3 is in the upper right corner
    assert bright[0][board].max() < 160
    assert render_beliefs.picture(imm_rl.make("tiger"), np.array([0.5, 0.5]), "") is None
