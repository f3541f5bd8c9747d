from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imm_rl.language.lm_checkpoint import load_model
from imm_rl.language.lm_evaluation import perplexity
from imm_rl.statistics import mean_ci95

Command = Callable[..., Any]

TINY = [
    *("--hidden-size", "8", "--layers", "1", "--epochs", "1", "--batch-size", "4"),
    *("--unroll", "10", "--eval-batch-size", "3", "--learning-rate", "5", "--device", "cpu"),
]
TEXTS = {
    "train.txt": "the cat sees the dog\nthe dog sees a cat\na cat runs\nthe dog runs\n" * 6,
    "valid.txt": "a dog runs\nthe cat sees a dog\n" * 3,
    "test.txt": "a dog sees the cat\nthe dog sees the cat\n" * 3,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run of two seeds and one of one on it."""
    from imm_rl.cli import main

    root = tmp_path_factory.mktemp("lm")
    (root / "text").mkdir()
    for name, text in TEXTS.items():
        (root / "text" / name).write_text(text)
    where = ["--corpus", str(root / "text"), "--logdir", str(root / "runs"), "--quiet"]
    for words in (["--seeds", "3,4"], ["--seeds", "5", "--method", "none"]):
        assert main(["lm", "train", *TINY, *where, *words]) == 0
    return root


@pytest.fixture
def several(made: Path) -> Path:
    return made / "runs" / "lm" / "text" / "lstm-batch-1"


@pytest.fixture
def single(made: Path) -> Path:
    return made / "runs" / "lm" / "text" / "lstm-none-1"


def _summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_evaluate_tells_what_training_found(imm_rl_command: Command, several: Path) -> None:
    outcome = imm_rl_command("lm", "evaluate", several, "--json", "--device", "cpu")

    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert [row["seed"] for row in found["models"]] == [3, 4]
    summary = _summary(several)
    for part in ("valid_perplexity", "test_perplexity"):
        assert [row[part] for row in found["models"]] == summary[part]["per_seed"]
        assert found[part]["mean"] == summary[part]["mean"]
        assert found[part]["ci95"] == summary[part]["ci95"]


def test_evaluate_prints_a_table(imm_rl_command: Command, several: Path) -> None:
    lines = imm_rl_command("lm", "evaluate", several).out.splitlines()
    assert lines[0].startswith(f"{several / 'seed_3' / 'model.npz'}: text: ")
    assert lines[2:4] == ["perplexity", lines[3]]
    assert lines[3].split() == ["validation", "test"]
    assert lines[4].startswith(f"{several / 'seed_3'} (seed 3)")
    assert lines[6].startswith("mean and 95 % interval")
    quiet = imm_rl_command("lm", "evaluate", several, "--quiet").out.splitlines()
    assert quiet == lines[2:]


def test_evaluate_takes_several_runs_and_averages_over_the_seeds_of_a_configuration(
    imm_rl_command: Command, made: Path, several: Path, single: Path
) -> None:
    where = ("--corpus", made / "text", "--logdir", made / "more", "--quiet")
    assert imm_rl_command("lm", "train", *TINY, *where, "--seeds", "9").code == 0
    other = made / "more" / "lm" / "text" / "lstm-batch-1"
    words = ("lm", "evaluate", several, single, other)

    found = json.loads(imm_rl_command(*words, "--json").out)

    assert [row["seed"] for row in found["models"]] == [3, 4, 9, 5]
    batch, none = found["configurations"]
    assert (batch["method"], batch["seeds"]) == ("batch", [3, 4, 9])
    assert (none["method"], none["seeds"]) == ("none", [5])
    for part in ("valid_perplexity", "test_perplexity"):
        values = [*_summary(several)[part]["per_seed"], *_summary(other)[part]["per_seed"]]
        assert [row[part] for row in found["models"][:3]] == values
        mean, *ends = mean_ci95(values)
        assert batch[part] == {"mean": mean, "ci95": ends}
        assert none[part] == {"mean": _summary(single)[part]["mean"], "ci95": [None, None]}
        assert part not in found  # of two configurations there is no mean

    lines = imm_rl_command(*words, "--quiet").out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        f"{several / 'seed_3'} (seed 3)",
        f"{several / 'seed_4'} (seed 4)",
        f"{other} (seed 9)",
        f"mean and 95 % interval (lstm, batch, λ {batch['imm_lambda']})",
        f"{single} (seed 5)",
    ]


def test_evaluate_refuses_a_seed_that_would_count_twice(
    imm_rl_command: Command, several: Path, single: Path
) -> None:
    outcome = imm_rl_command("lm", "evaluate", single, several, several / "seed_4")
    file = several / "seed_4" / "model.npz"
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"imm-rl lm evaluate: error: {file} and {file} are of one configuration and one seed, 4, which a "
        "mean over seeds would count twice. Leave one of them out.\n"
    )


def test_a_run_that_is_named_is_not_looked_for(
    imm_rl_command: Command, made: Path, single: Path
) -> None:
    for command in ("evaluate", "generate"):
        outcome = imm_rl_command("lm", command, single, "--logdir", made / "runs")
        assert outcome.code == 2
        assert "--logdir is for finding the newest run" in outcome.err


def test_evaluate_tells_of_a_model_that_diverged(
    imm_rl_command: Command, several: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "lm" / "text" / "lstm-batch-1"
    shutil.copytree(several, run)
    with np.load(run / "seed_4" / "model.npz") as arrays:
        kept = {name: arrays[name] for name in arrays}
    name = next(name for name in kept if name.startswith("parameters/"))
    kept[name] = np.full_like(kept[name], np.nan)
    np.savez(run / "seed_4" / "model.npz", **kept)
    outcome = imm_rl_command("lm", "evaluate", run, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert found["valid_perplexity"] == {"mean": None, "ci95": [None, None]}
    assert found["models"][0]["valid_perplexity"] > 1.0
    assert found["models"][1]["valid_perplexity"] is None


def test_evaluate_takes_a_seeds_folder_and_a_file(imm_rl_command: Command, several: Path) -> None:
    whole = json.loads(imm_rl_command("lm", "evaluate", several, "--json").out)
    for what in (several / "seed_4", several / "seed_4" / "model.npz"):
        found = json.loads(imm_rl_command("lm", "evaluate", what, "--json").out)
        assert found["models"] == whole["models"][1:]
        assert found["valid_perplexity"]["ci95"] == [None, None]


def test_evaluate_takes_paths_from_where_one_stands(
    imm_rl_command: Command, several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, what in ((several / "seed_4", "."), (several / "seed_4", "model.npz")):
        monkeypatch.chdir(folder)
        outcome = imm_rl_command("lm", "evaluate", what, "--json")
        assert json.loads(outcome.out)["models"][0]["seed"] == 4


def test_evaluate_takes_the_newest_finished_run(
    imm_rl_command: Command, made: Path, several: Path, single: Path
) -> None:
    os.utime(several / "config.yaml", (1, 1))
    found = json.loads(imm_rl_command("lm", "evaluate", "--logdir", made / "runs", "--json").out)
    assert [row["model"] for row in found["models"]] == [str(single / "model.npz")]
    (single / "summary.json").rename(single / "later")
    try:
        found = json.loads(
            imm_rl_command("lm", "evaluate", "--logdir", made / "runs", "--json").out
        )
    finally:
        (single / "later").rename(single / "summary.json")
    assert [row["seed"] for row in found["models"]] == [3, 4]


def test_evaluate_counts_words_the_model_does_not_know_as_unknown(
    imm_rl_command: Command, single: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.txt").write_text("a zebra sees the dog\nthe zebra runs\n")
    (other / "valid.txt").write_text("the zebra sees a dog\na dog runs\n")
    (other / "test.txt").write_text("a zebra runs\n")

    outcome = imm_rl_command("lm", "evaluate", single, "--corpus", other, "--json")

    found = json.loads(outcome.out)
    model, vocabulary, _ = load_model(single / "model.npz")
    for part in ("valid", "test"):
        lines = (other / f"{part}.txt").read_text().splitlines()
        words = [word for line in lines for word in (*line.split(), "<eos>")]
        ids = vocabulary.encode(words)
        assert vocabulary.unknown in ids
        assert vocabulary.words[ids[0]] == words[0]
        expected = perplexity(model, torch.from_numpy(ids), streams=3, unroll=10)
        assert found["models"][0][f"{part}_perplexity"] == pytest.approx(expected, rel=1e-9)
    assert "other: 10 / 10 / 4 words" in outcome.err


def test_evaluate_a_model_by_itself_needs_a_corpus(
    imm_rl_command: Command, single: Path, made: Path, tmp_path: Path
) -> None:
    shutil.copy(single / "model.npz", tmp_path / "own.npz")
    outcome = imm_rl_command("lm", "evaluate", tmp_path / "own.npz")
    assert outcome.code == 2
    assert outcome.err.endswith(
        "lies in no run folder, so its corpus is not known. Give --corpus.\n"
    )
    again = imm_rl_command(
        "lm", "evaluate", tmp_path / "own.npz", "--corpus", made / "text", "--json"
    )
    assert (
        json.loads(again.out)["models"][0]["valid_perplexity"]
        == _summary(single)["valid_perplexity"]["mean"]
    )


def test_evaluate_refuses_a_text_that_has_changed(
    imm_rl_command: Command, single: Path, made: Path
) -> None:
    (made / "text" / "test.txt").write_text("a dog\n")
    try:
        outcome = imm_rl_command("lm", "evaluate", single)
    finally:
        (made / "text" / "test.txt").write_text(TEXTS["test.txt"])
    assert (outcome.code, outcome.out) == (2, "")
    assert "was trained on another text than text holds now" in outcome.err


# --- generate -----------------------------------------------------------------------------------


def test_generate_writes_the_same_for_the_same_seed(imm_rl_command: Command, single: Path) -> None:
    words = ("lm", "generate", single, "--prompt", "the dog", "--words", "20")
    first, again, other = (imm_rl_command(*words, "--seed", seed) for seed in (1, 1, 2))
    assert (first.code, first.err) == (0, "")
    assert first.out == again.out != other.out
    assert first.out.startswith("the dog")
    assert "<unk>" not in first.out
    assert "<eos>" not in first.out


def test_generate_tells_the_seed_it_drew_and_words_it_does_not_know(
    imm_rl_command: Command, single: Path
) -> None:
    outcome = imm_rl_command("lm", "generate", single, "--prompt", "The zebra")
    seed, unknown = outcome.err.splitlines()
    assert unknown == "unknown to the model, taken for <unk>: zebra"
    again = imm_rl_command(
        "lm", "generate", single, "--prompt", "the zebra", "--seed", seed.removeprefix("seed ")
    )
    assert again.out == outcome.out
    assert outcome.out.startswith("the zebra")


def test_generate_takes_the_newest_run_and_a_temperature(
    imm_rl_command: Command, made: Path, single: Path, several: Path
) -> None:
    os.utime(several / "config.yaml", (1, 1))
    words = ("--words", "12", "--seed", "1")
    newest = imm_rl_command("lm", "generate", "--logdir", made / "runs", *words)
    assert newest.out == imm_rl_command("lm", "generate", single, *words).out
    greedy = [
        imm_rl_command("lm", "generate", single, "--words", "12", "--seed", seed, *options).out
        for seed in ("1", "2")
        for options in (("--top-k", "1"), ("--temperature", "1e-9"))
    ]
    assert len(set(greedy)) == 1
    first = imm_rl_command("lm", "generate", several, *words)
    alone = imm_rl_command("lm", "generate", several / "seed_3", *words)
    assert first.out == alone.out
    told = (
        f"model: {several}/seed_3 (seed 3), the first of 2 seeds; another one: imm-rl lm generate "
        f"{several}/seed_"
    )
    assert first.err.startswith(told)
    assert alone.err == ""


def test_other_files_are_no_models(imm_rl_command: Command, tmp_path: Path, several: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    checkpoint = several / "seed_3" / "checkpoints" / "latest.npz"
    for command in ("evaluate", "generate"):
        for path, message in (
            (tmp_path / "arrays.npz", "is no checkpoint of a language model"),
            (checkpoint, "is no language model"),
            (several / "config.yaml", "is no checkpoint of a language model"),
            (tmp_path, "has no model.npz, neither of its own nor of a seed"),
            (tmp_path / "none", "there is no file or folder"),
        ):
            outcome = imm_rl_command("lm", command, path)
            assert (outcome.code, outcome.out) == (2, "")
            assert outcome.err.startswith(f"imm-rl lm {command}: error: ")
            assert outcome.err.count("\n") == 1
            assert message in outcome.err


def test_generate_takes_words_as_the_model_has_them_and_else_as_the_embedded_text_has_them(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    text = tmp_path / "cased"
    text.mkdir()
    for part in ("train", "valid", "test"):
        line = "The Robert went in 1987 to town , not in N"
        (text / f"{part}.txt").write_text("\n".join([line] * 4))
    tiny = ("--hidden-size", "8", "--epochs", "1", "--batch-size", "2", "--quiet", "--seeds", "0")
    logdir = ("--logdir", tmp_path / "runs")
    assert imm_rl_command("lm", "train", "--corpus", text, *tiny, *logdir).code == 0
    prompt = "The Robert went, In 1987 or 1988"
    outcome = imm_rl_command(
        *("lm", "generate", "--prompt", prompt, "--words", "1", "--seed", "0"), *logdir
    )
    # 1987 is known as it stands; 1988 becomes the number sign that the text happens to have.
    assert outcome.err == "unknown to the model, taken for <unk>: or\n"
    assert outcome.out.startswith("The Robert went, in 1987 or N")
