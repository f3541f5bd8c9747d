from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.language.arpa import read_arpa
from imm_rl.language.corpus import load_corpus
from imm_rl.language.lm_checkpoint import load_model
from imm_rl.language.lm_presets import LAMBDAS
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_worth import worth
from imm_rl.language.ngram import KneserNey

Command = Callable[..., Any]

TINY = [
    *("--hidden-size", "8", "--layers", "1", "--epochs", "2", "--batch-size", "4"),
    *("--unroll", "10", "--eval-batch-size", "3", "--learning-rate", "5", "--device", "cpu"),
]
SUMMARY_KEYS = [
    *("corpus", "fingerprint", "vocabulary", "model", "method", "imm_lambda", "seeds"),
    *("valid_perplexity", "test_perplexity", "induced_valid_perplexity", "ngram_order"),
    *(
        "ngram_valid_perplexity",
        "ngram_test_perplexity",
        "words",
        "wall_seconds",
        "notes",
        "curves",
    ),
]
TAGS = {
    *("valid/perplexity", "train/perplexity", "learning_rate", "time/words_per_second"),
    *("imm/loss", "imm/lambda", "imm/kl", "imm/agreement"),
}


def write_text(folder: Path, seed: int = 0, words: str = "abcdef") -> Path:
    """A corpus of a few hundred words."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in (("train", 60), ("valid", 20), ("test", 15)):
        text = []
        for _ in range(lines):
            start = int(rng.integers(len(words)))
            line = [words[(start + i) % len(words)] for i in range(int(rng.integers(3, 8)))]
            text.append(
                " ".join(w if rng.random() < 0.8 else rng.choice(list(words)) for w in line)
            )
        (folder / f"{part}.txt").write_text("\n".join(text) + "\n")
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "text")


@pytest.fixture
def train(imm_rl_command: Command, text: Path, tmp_path: Path) -> Command:
    """`imm-rl lm train` on the text, into the folder `runs`."""

    def run(*words: object) -> Any:
        where = ("--corpus", text, "--logdir", tmp_path / "runs")
        return imm_rl_command("lm", "train", *TINY, *where, *words)

    return run


def test_the_run_folder_of_one_file_goes_by_its_stem(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    write_text(tmp_path / "text")
    file = tmp_path / "mon texte é.txt"
    (tmp_path / "text" / "train.txt").rename(file)
    words = ("--corpus", file, "--logdir", tmp_path / "runs", "--seeds", "0")
    outcome = imm_rl_command("lm", "train", *TINY, *words)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "runs" / "lm" / "mon-texte" / "lstm-batch-1" / "summary.json").is_file()


def run_folder(tmp_path: Path, name: str = "lstm-batch-1") -> Path:
    return tmp_path / "runs" / "lm" / "text" / name


def test_train_leaves_a_whole_run_folder(train: Command, text: Path, tmp_path: Path) -> None:
    outcome = train("--seeds", "3")

    folder = run_folder(tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == lines[-1] == f"run folder: {folder}"
    weight = LAMBDAS["laptop"]["lstm"]["batch"]
    told = f"training: method batch, λ {weight}, seed 3, device cpu, preset laptop"
    assert told in lines
    assert "tied false" in outcome.out
    assert "perplexity of the best epoch, validation" in outcome.out
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {
        *("config.yaml", "command.txt", "versions.json", "vocabulary.txt", "restricted.arpa.gz"),
        *("checkpoints", "progress.csv", "model.npz", "summary.json"),
    }
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["latest.npz"]
    assert (folder / "command.txt").read_text().startswith("imm-rl lm train --hidden-size 8 ")
    corpus = load_corpus(text)
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["corpus"] == corpus.fingerprint()
    assert versions["torch"]
    assert (folder / "vocabulary.txt").read_text() == corpus.vocabulary.text()


def test_train_keeps_the_ngram_model_and_the_best_model(
    train: Command, text: Path, tmp_path: Path
) -> None:
    train("--seeds", "3", "--order", "3")

    folder = run_folder(tmp_path)
    corpus = load_corpus(text)
    ngram = KneserNey(3).fit(corpus.train, vocab_size=len(corpus.vocabulary))
    found, words = read_arpa(folder / "restricted.arpa.gz")
    assert tuple(words) == corpus.vocabulary.words
    assert found.perplexity(corpus.valid) == pytest.approx(ngram.perplexity(corpus.valid), rel=1e-6)
    model, vocabulary, about = load_model(folder / "model.npz")
    assert vocabulary == corpus.vocabulary
    assert (about["seed"], about["method"], about["lambda"]) == (
        *(3, "batch", LAMBDAS["laptop"]["lstm"]["batch"]),
    )
    summary = json.loads((folder / "summary.json").read_text())
    measured = worth(model, corpus, ngram, settings=LMSettings(**about["settings"]))
    for name in ("valid_perplexity", "test_perplexity", "induced_valid_perplexity"):
        assert summary[name]["mean"] == pytest.approx(measured[name], rel=1e-9)
    for name in ("ngram_order", "ngram_valid_perplexity", "ngram_test_perplexity"):
        assert summary[name] == measured[name]


def test_train_prints_one_json_object(train: Command, tmp_path: Path) -> None:
    outcome = train("--seeds", "3,4", "--json")

    summary = json.loads(outcome.out)
    assert list(summary) == SUMMARY_KEYS
    assert summary == json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert "run folder: " in outcome.err
    assert (summary["corpus"], summary["model"], summary["method"]) == ("text", "lstm", "batch")
    assert (summary["seeds"], summary["notes"]) == ([3, 4], [])
    per_seed = summary["valid_perplexity"]["per_seed"]
    assert summary["valid_perplexity"]["mean"] == pytest.approx(np.mean(per_seed))
    assert len(set(per_seed)) == 2
    low, high = summary["valid_perplexity"]["ci95"]
    assert low < summary["valid_perplexity"]["mean"] < high
    for seed, best in zip(("3", "4"), per_seed, strict=True):
        curve = summary["curves"][seed]
        assert curve["words"][1] == 2 * curve["words"][0]
        assert min(curve["valid_perplexity"]) == best
    assert summary["words"] == 2 * summary["curves"]["3"]["words"][1]


def test_train_is_quiet_where_asked(train: Command, tmp_path: Path) -> None:
    outcome = train("--seeds", "3", "--quiet")
    lines = outcome.out.splitlines()
    assert lines[0] == lines[-1] == f"run folder: {run_folder(tmp_path)}"
    assert lines[1].split() == ["mean", "95", "%", "interval"]
    assert outcome.err == ""
    both = train("--seeds", "3", "--quiet", "--json")
    assert both.err == ""
    assert json.loads(both.out)["seeds"] == [3]


def test_train_keeps_each_seed_apart(train: Command, tmp_path: Path) -> None:
    outcome = train("--seeds", "3,4")

    folder = run_folder(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "command.txt", "versions.json", "vocabulary.txt", "restricted.arpa.gz"),
        *("seed_3", "seed_4", "summary.json"),
    }
    assert "intervals over 2 seeds" in outcome.out
    for seed in (3, 4):
        below = folder / f"seed_{seed}"
        assert {path.name for path in below.iterdir() if "tfevents" not in path.name} == {
            *("checkpoints", "progress.csv", "model.npz", "summary.json"),
        }
        assert load_model(below / "model.npz").about["seed"] == seed
        with open(below / "progress.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        one = json.loads((below / "summary.json").read_text())
        assert one["seed"] == seed
        assert [float(r["valid/perplexity"]) for r in rows] == one["curve"]["valid_perplexity"]
        assert [int(r["words"]) for r in rows] == one["curve"]["words"]
        accumulator = EventAccumulator(str(below)).Reload()
        assert set(accumulator.Tags()["scalars"]) == TAGS
        shown = [(e.step, e.value) for e in accumulator.Scalars("imm/kl")]
        assert shown == [
            (int(r["words"]), pytest.approx(float(r["imm/kl"]), rel=1e-6)) for r in rows
        ]
    alone = train("--seeds", "4", "--json")
    assert json.loads(alone.out)["curves"]["4"] == one["curve"]


def test_train_without_a_term_keeps_no_ngram_model(train: Command, tmp_path: Path) -> None:
    outcome = train("--seeds", "3", "--method", "none", "--json")

    folder = run_folder(tmp_path, "lstm-none-1")
    assert (
        list(json.loads(outcome.out)) == SUMMARY_KEYS
    )  # held against the n-gram model all the same
    assert not (folder / "restricted.arpa.gz").exists()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["lambda"] == "0"
    assert config["order"] == 2  # what it was held against
    assert "restricted model" not in outcome.err


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("noising", ["--optimizer", "adam", "--learning-rate", "0.01"]),
        ("sampled", ["--k", "3", "--history", "4", "--contexts", "5", "--lambda", "aligned:1"]),
        ("serialized", ["--k", "2", "--every", "1", "--lambda", "linear:1->0@0.5"]),
        ("imm", ["--tied", "yes", "--start", "epoch:1", "--lambda", "target-kl:0.1"]),
    ],
)
def test_train_knows_every_method(
    train: Command, tmp_path: Path, method: str, options: list[str]
) -> None:
    outcome = train("--seeds", "3", "--method", method, *options, "--json")
    summary = json.loads(outcome.out)
    assert summary["method"] == method.replace("imm", "batch")
    assert math.isfinite(summary["valid_perplexity"]["mean"])
    notes = ["seed 3: the term set in after epoch 1"] if method == "imm" else []
    assert summary["notes"] == notes
    assert run_folder(tmp_path, f"lstm-{summary['method']}-1").is_dir()


def test_dry_run_writes_nothing(train: Command, tmp_path: Path) -> None:
    outcome = train("--dry-run", "--lambda", "aligned:1")
    assert outcome.code == 0
    assert "method batch, λ aligned:1, seed" in outcome.out
    assert "(drawn)" in outcome.out
    assert outcome.out.endswith("nothing was trained\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("method", ["none", "batch", "sampled"])
def test_printed_configuration_makes_the_same_training_again(
    train: Command, imm_rl_command: Command, tmp_path: Path, method: str
) -> None:
    options = ("--method", method, "--tied", "true", "--dropout", "0.25")
    printed = train("--print-config", *options)
    assert printed.code == 0
    assert not (tmp_path / "runs").exists()
    (tmp_path / "lm.yaml").write_text(printed.out)

    again = imm_rl_command("lm", "train", "--config", tmp_path / "lm.yaml", "--print-config")
    assert again.out == printed.out
    imm_rl_command("lm", "train", "--config", tmp_path / "lm.yaml")

    folder = run_folder(tmp_path, f"lstm-{method}-1")
    assert (folder / "config.yaml").read_text() == printed.out
    found = yaml.safe_load(printed.out)
    assert (found["tied"], found["dropout"], found["epochs"]) == (True, 0.25, 2)
    assert ("k" in found) == (method == "sampled")


def test_train_reads_one_file_and_limits_its_words(
    imm_rl_command: Command, text: Path, tmp_path: Path
) -> None:
    outcome = imm_rl_command(
        *("lm", "train", *TINY, "--corpus", text / "train.txt", "--max-vocab", "5"),
        *("--logdir", tmp_path / "runs", "--json"),
    )
    summary = json.loads(outcome.out)
    assert (summary["corpus"], summary["vocabulary"]) == ("train.txt", 5)


def test_runs_get_numbers_of_their_own(train: Command, tmp_path: Path) -> None:
    train("--seeds", "3", "--epochs", "1")
    outcome = train("--seeds", "3", "--epochs", "1")
    assert f"run folder: {run_folder(tmp_path, 'lstm-batch-2')}" in outcome.out


def test_many_unknown_words_are_remarked_upon(
    imm_rl_command: Callable[..., Any], tmp_path: Path
) -> None:
    text = tmp_path / "prose.txt"
    text.write_text("\n".join(f"Word{i}, word{i}." for i in range(60)))
    outcome = imm_rl_command("lm", "train", "--corpus", text, "--dry-run", "--logdir", tmp_path)
    assert outcome.code == 0
    assert "67 % of the validation words are unknown" in outcome.out


def test_a_training_without_a_number_fails_and_is_no_result(train: Command, tmp_path: Path) -> None:
    outcome = train("--seeds", "3", "--init-range", "1e30", "--epochs", "1")

    folder = run_folder(tmp_path, "lstm-batch-1")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "imm-rl lm train: error: the training diverged: after none of its 1 epochs was the validation "
        "perplexity a number. Train with a smaller init_range, learning_rate or λ. The run's files are "
        f"in {folder}"
    )
    assert "Traceback" not in outcome.err
    assert not (folder / "summary.json").exists()
    assert not (folder / "model.npz").exists()
