"""Runs of `imm-rl lm train` that were stopped or killed, and resumed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.cli.console import Progress
from imm_rl.cli.lm_run import _Seed

Command = Callable[..., Any]

TINY = [
    *("--hidden-size", "8", "--layers", "1", "--epochs", "3", "--batch-size", "4"),
    *("--unroll", "10", "--eval-batch-size", "3", "--learning-rate", "5", "--device", "cpu"),
    *("--method", "sampled", "--k", "3", "--history", "4", "--every", "2"),
]


@pytest.fixture(autouse=True)
def _ctrl_c_is_for_us() -> Iterator[None]:
    """Python's own handler, also where the tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def write_text(folder: Path) -> Path:
    """228 words of training: four streams of 56 pairs, six updates an epoch."""
    folder.mkdir()
    lines = ["a b c d", "b c d a", "c d", "a b a b c"]
    for part, times in (("train", 12), ("valid", 3), ("test", 2)):
        (folder / f"{part}.txt").write_text("\n".join(lines * times) + "\n")
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "text")


@pytest.fixture
def train(imm_rl_command: Command, text: Path, tmp_path: Path) -> Command:
    def run(*words: object, logdir: str = "runs") -> Any:
        where = ("--corpus", text, "--logdir", tmp_path / logdir)
        return imm_rl_command("lm", "train", *TINY, *where, *words)

    return run


def folder_of(root: Path, logdir: str = "runs") -> Path:
    return root / logdir / "lm" / "text" / "lstm-sampled-1"


def result(folder: Path, seeds: tuple[int, ...] = (3,)) -> dict[str, Any]:
    """Everything that a run leaves but its times."""
    summary = json.loads((folder / "summary.json").read_text())
    del summary["wall_seconds"]
    found: dict[str, Any] = {"summary": summary}
    for seed in seeds:
        below = folder if len(seeds) == 1 else folder / f"seed_{seed}"
        for name in ("model.npz", "checkpoints/latest.npz"):
            with np.load(below / name) as arrays:
                kept = {key: arrays[key] for key in arrays if key not in ("records", "counters")}
                found[f"{name} {seed}"] = {key: value.tobytes() for key, value in kept.items()}
        rows = (below / "progress.csv").read_text().splitlines()
        found[f"progress {seed}"] = [row.rsplit(",", 1)[0] for row in rows]  # time is the last one
        accumulator = EventAccumulator(str(below)).Reload()
        for tag in sorted(set(accumulator.Tags()["scalars"]) - {"time/words_per_second"}):
            found[f"{tag} {seed}"] = [(e.step, e.value) for e in accumulator.Scalars(tag)]
    return found


@pytest.fixture
def stopping(train: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Trains, with Ctrl-C in update number `at` of the whole command."""

    def run(at: int, *words: object) -> Any:
        updates = []

        def update(self: Progress, done: int) -> None:
            updates.append(done)
            if len(updates) == at:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Progress, "update", update)
            outcome = train(*words)
        assert len(updates) == at
        return outcome

    return run


@pytest.mark.parametrize("at", [1, 6, 8, 17])
def test_a_stopped_run_ends_where_an_uninterrupted_one_ends(
    stopping: Command, train: Command, imm_rl_command: Command, tmp_path: Path, at: int
) -> None:
    outcome = stopping(at, "--seeds", "3")

    folder = folder_of(tmp_path)
    assert outcome.code == 130
    last = outcome.out.splitlines()[-1]
    assert last == f"stopped; go on with: imm-rl lm train --resume {folder}"
    assert not (folder / "summary.json").exists()
    assert not (folder / "model.npz").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    resumed = imm_rl_command("lm", "train", "--resume", folder)
    assert (resumed.code, resumed.err) == (0, "")
    assert "going on at" in resumed.out
    train("--seeds", "3", logdir="others")
    assert result(folder) == result(folder_of(tmp_path, "others"))


def test_a_run_stopped_after_its_last_update_is_done(
    stopping: Command, train: Command, tmp_path: Path
) -> None:
    outcome = stopping(18, "--seeds", "3")
    assert outcome.code == 0
    train("--seeds", "3", logdir="others")
    assert result(folder_of(tmp_path)) == result(folder_of(tmp_path, "others"))


def test_a_stopped_run_goes_on_with_its_second_seed(
    stopping: Command, train: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    assert stopping(22, "--seeds", "3,4").code == 130

    folder = folder_of(tmp_path)
    first = (folder / "seed_3" / "summary.json").read_bytes()
    resumed = imm_rl_command("lm", "train", "--resume", folder)
    assert resumed.code == 0
    assert resumed.out.count("\nseed ") == 1
    assert (folder / "seed_3" / "summary.json").read_bytes() == first
    train("--seeds", "3,4", logdir="others")
    assert result(folder, (3, 4)) == result(folder_of(tmp_path, "others"), (3, 4))


def test_a_finished_run_is_told_again(
    train: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    first = train("--seeds", "3")
    folder = folder_of(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    again = imm_rl_command("lm", "train", "--resume", folder)
    as_json = imm_rl_command("lm", "train", "--resume", folder, "--json", "--quiet")

    assert again.code == as_json.code == 0
    assert again.out.splitlines()[0] == f"the run {folder} is finished"
    assert again.out.splitlines()[1:] == first.out.splitlines()[-len(again.out.splitlines()) + 1 :]
    assert json.loads(as_json.out) == json.loads((folder / "summary.json").read_text())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_finished_run_goes_on_to_a_later_end(
    train: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    train("--seeds", "3,4", "--epochs", "2")
    folder = folder_of(tmp_path)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("summary.json")}
    assert len(before) == 3

    outcome = imm_rl_command("lm", "train", "--resume", folder, "--epochs", "3")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("going on at 448 words") == 2
    train("--seeds", "3,4", logdir="others")
    assert result(folder, (3, 4)) == result(folder_of(tmp_path, "others"), (3, 4))
    for path, content in before.items():
        assert (folder / path).with_name("summary-2-epochs.json").read_bytes() == content
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 3
    first, second = (folder / "command.txt").read_text().splitlines()
    assert first.endswith("--seeds 3,4 --epochs 2")
    assert second == f"imm-rl lm train --resume {folder} --epochs 3"
    assert "is finished" in imm_rl_command("lm", "train", "--resume", folder).out


def test_a_prolonged_run_may_be_stopped_and_resumed(
    stopping: Command, train: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    assert stopping(8, "--seeds", "3", "--epochs", "2").code == 130
    folder = folder_of(tmp_path)
    resume = ("lm", "train", "--resume", folder)
    assert imm_rl_command(*resume, "--epochs", "3").code == 0
    train("--seeds", "3", logdir="others")
    assert result(folder) == result(folder_of(tmp_path, "others"))
    # A kill between the summary's new name and the configuration: the run goes on to its old end.
    (folder / "summary.json").rename(folder / "summary-3-epochs.json")
    assert imm_rl_command(*resume).code == 0
    assert result(folder)["summary"] == result(folder_of(tmp_path, "others"))["summary"]


@pytest.mark.parametrize(
    ("made", "epochs", "message"),
    [
        ((), "3", "--epochs must be more than the 3 of the run {folder}; received 3. Leave it out"),
        ((), "x", "--epochs must be a whole number"),
        (
            ("--annealing", "linear"),
            "9",
            "the run {folder} cannot be prolonged: the step size falls to 0 over the 3 epochs (annealing "
            "linear), so a training of 9 would have been another one from its start. Start a new run with "
            "--epochs 9.",
        ),
        (
            ("--lambda", "linear:1->0@0.5"),
            "9",
            "cannot be prolonged: λ, linear:1->0@0.5, changes over the 3 epochs, so",
        ),
    ],
)
def test_a_run_that_cannot_be_prolonged_is_left_as_it_is(
    train: Command,
    imm_rl_command: Command,
    tmp_path: Path,
    made: tuple[str, ...],
    epochs: str,
    message: str,
) -> None:
    train("--seeds", "3", *made)
    folder = folder_of(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = imm_rl_command("lm", "train", "--resume", folder, "--epochs", epochs)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("imm-rl lm train: error: ")
    assert message.format(folder=folder) in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("spoiled", ["text", "checkpoint"])
def test_a_run_is_not_prolonged_where_it_could_not_go_on(
    train: Command, imm_rl_command: Command, text: Path, tmp_path: Path, spoiled: str
) -> None:
    train("--seeds", "3")
    folder = folder_of(tmp_path)
    if spoiled == "text":
        (text / "valid.txt").write_text("a b\n")
    else:
        path = folder / "checkpoints" / "latest.npz"
        path.write_bytes(path.read_bytes()[:2000])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = imm_rl_command("lm", "train", "--resume", folder, "--epochs", "9")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_is_older_than_a_setting_goes_on(
    stopping: Command, train: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    stopping(8, "--seeds", "3")
    folder = folder_of(tmp_path)
    newer = ("precision", "annealing", "warmup")
    made = yaml.safe_load((folder / "config.yaml").read_text())
    kept = {name: value for name, value in made.items() if name not in newer}
    assert len(kept) == len(made) - len(newer)
    (folder / "config.yaml").write_text(yaml.safe_dump(kept))
    checkpoint = folder / "checkpoints" / "latest.npz"
    with np.load(checkpoint) as arrays:
        state = dict(arrays)
    identity = json.loads(str(state["identity"]))
    for name in newer:
        del identity["settings"][name]
    np.savez(checkpoint, **{**state, "identity": np.array(json.dumps(identity))})

    assert imm_rl_command("lm", "train", "--resume", folder).code == 0

    train("--seeds", "3", logdir="others")
    assert result(folder) == result(folder_of(tmp_path, "others"))


@pytest.mark.parametrize("at", [3, 18])
def test_a_run_is_not_resumed_on_a_text_that_has_changed(
    stopping: Command, imm_rl_command: Command, text: Path, tmp_path: Path, at: int
) -> None:
    # At 18 the first seed is done, and the second one has no checkpoint that would tell.
    stopping(at + 1, "--seeds", "3,4")
    folder = folder_of(tmp_path)
    if at == 18:
        (folder / "seed_4" / "checkpoints" / "latest.npz").unlink()
    (text / "valid.txt").write_text("a b\n")

    outcome = imm_rl_command("lm", "train", "--resume", folder)

    assert outcome.code == 2
    assert outcome.err.startswith(
        f"imm-rl lm train: error: the corpus text is not the text that the run {folder} began with "
    )
    assert outcome.err.count("\n") == 1


def test_a_damaged_checkpoint_is_one_clear_line(
    stopping: Command, imm_rl_command: Command, tmp_path: Path
) -> None:
    stopping(8, "--seeds", "3")
    path = folder_of(tmp_path) / "checkpoints" / "latest.npz"
    path.write_bytes(path.read_bytes()[:2000])

    outcome = imm_rl_command("lm", "train", "--resume", folder_of(tmp_path))

    assert outcome.code == 2
    assert outcome.err == (
        f"imm-rl lm train: error: {path} is no checkpoint of a language model: it is no whole .npz "
        "file.\n"
    )


def test_a_failed_run_says_where_its_files_are(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imm_rl.errors import RunFailedError

    def fail(self: object, stopped: object) -> bool:
        raise RunFailedError("after update 3, the loss became nan, for the 6th time.")

    monkeypatch.setattr(_Seed, "learn", fail)
    outcome = train("--seeds", "3")
    assert outcome.code == 1
    assert outcome.err == (
        "imm-rl lm train: error: after update 3, the loss became nan, for the 6th time. The run's "
        f"files are in {folder_of(tmp_path)}\n"
    )


def test_runs_of_agents_are_not_resumed_as_language_models(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    logdir = ("--logdir", tmp_path)
    imm_rl_command(
        "train", "--env", "tiger", "--restricted", "none", "--seeds", "3", *logdir, *tiny
    )
    folder = tmp_path / "tiger" / "reinforce-none-1"

    outcome = imm_rl_command("lm", "train", "--resume", folder)

    assert outcome.code == 2
    assert outcome.err == (
        f"imm-rl lm train: error: {folder} is no run of a language model. Resume it with: imm-rl train "
        f"--resume {folder}\n"
    )
    evaluated = imm_rl_command("lm", "evaluate", folder)
    assert evaluated.code == 2
    assert "has no model.npz" in evaluated.err


def test_resume_takes_no_other_options(train: Command, imm_rl_command: Command, text: Path) -> None:
    outcome = imm_rl_command("lm", "train", "--resume", text, "--k", "9", "--epochs", "9", "--fast")
    assert outcome.code == 2
    assert "--resume goes on with the run's own configuration" in outcome.err
    assert "cannot be combined with --k, --fast." in outcome.err


# --- in processes of their own ------------------------------------------------------------------

PROGRAM = "import sys; from imm_rl.cli import main; sys.exit(main(sys.argv[1:]))"

KILLED = Path(__file__).parents[1] / "programs" / "killed.py"

MOMENTS = {
    "the-restricted-model-half-written": ("restricted.arpa.gz", 1, "half"),
    "the-first-checkpoint-half-written": ("latest.npz", 1, "half"),
    "a-curve-written-and-its-checkpoint-not": ("progress.csv", 2, "after"),
    "a-later-checkpoint-there": ("latest.npz", 2, "after"),
    "the-model-half-written": ("model.npz", 1, "half"),
    "the-last-file-half-written": ("summary.json", 1, "half"),
}


def command_line(text: Path, logdir: Path, *words: str) -> list[str]:
    where = ("--corpus", str(text), "--logdir", str(logdir), "--seeds", "3")
    return ["lm", "train", *TINY, *where, *words]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_with_the_numbers_of_one_left_alone(
    moment: str, train: Command, imm_rl_command: Command, text: Path, tmp_path: Path
) -> None:
    name, number, kind = MOMENTS[moment]
    done = subprocess.run(
        [
            *(sys.executable, str(KILLED), name, str(number), kind),
            *command_line(text, tmp_path / "killed"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = folder_of(tmp_path, "killed")
    assert not (folder / "summary.json").exists()

    outcome = imm_rl_command("lm", "train", "--resume", folder)

    assert (outcome.code, outcome.err) == (0, "")
    train("--seeds", "3", logdir="others")
    assert result(folder) == result(folder_of(tmp_path, "others"))
    assert [path.name for path in folder.rglob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SIGINT", "SIGKILL"])
def test_a_run_stopped_from_outside_ends_with_the_numbers_of_one_left_alone(
    kind: str, train: Command, imm_rl_command: Command, text: Path, tmp_path: Path
) -> None:
    epochs = ("--epochs", "60")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command_line(text, tmp_path / "stopped", *epochs)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if " epoch 2 " in line:
                time.sleep(0.02)  # somewhere in a later one
                process.send_signal(getattr(signal, kind))
                break
        lines += process.stdout.readlines()
    folder = folder_of(tmp_path, "stopped")
    if kind == "SIGINT":
        assert process.returncode == 130
        assert lines[-1] == f"stopped; go on with: imm-rl lm train --resume {folder}\n"
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (folder / "summary.json").exists()

    assert imm_rl_command("lm", "train", "--resume", folder).code == 0

    train("--seeds", "3", *epochs, logdir="others")
    assert result(folder) == result(folder_of(tmp_path, "others"))
