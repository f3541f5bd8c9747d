"""The two scripts of docs/bert.md, run as a user runs them, with few updates."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imm_rl.language.corpus import load_corpus
from imm_rl.language.glue import NAMES, load_task

ROOT = Path(__file__).resolve().parents[1]


def started(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / name), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def script(name: str, *options: str) -> str:
    done = started(name, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_small_glue_skips_sentences_that_have_no_other_order(
    glue_maker: Any, tmp_path: Path
) -> None:
    unknown, mixed = ["<unk>"] * 9, [*"abcdefghi"]
    only_the_last_differs = ["<unk>"] * 8 + ["a"]
    words = [*unknown, "<eos>", *mixed, ".", *only_the_last_differs, "<eos>", *reversed(mixed), "."]
    sentences = glue_maker.cut(words)
    assert sentences == [mixed, mixed[::-1]]
    glue_maker.make_tasks(tmp_path, sentences, sentences, 20, 20, seed=0)
    rows = (tmp_path / "CoLA" / "dev.tsv").read_text().splitlines()
    assert Counter(row.split("\t")[1] for row in rows) == {"0": 10, "1": 10}
    assert all(
        (row.split("\t")[3].split() in sentences) == (row.split("\t")[1] == "1") for row in rows
    )


def test_small_glue_of_the_embedded_corpus_skips_nothing(glue_maker: Any) -> None:
    # docs/bert.md's figures rest on its tasks, which follow from the list of sentences.
    corpus = load_corpus(min_count=1)
    for part in (corpus.train, [*corpus.valid, *corpus.test]):
        words = [corpus.vocabulary.words[i] for i in part]
        runs = [
            list(run)
            for is_stop, run in itertools.groupby(words, glue_maker.STOPS.__contains__)
            if not is_stop
        ]
        fitting = [run for run in runs if 8 <= len(run) <= 16]
        assert glue_maker.cut(words) == [list(run) for run in dict.fromkeys(map(tuple, fitting))]


def test_small_glue_ends_on_a_text_whose_held_out_part_is_unknown(
    glue_maker: Any, tmp_path: Path
) -> None:
    rng = random.Random(0)
    lines = [" ".join(rng.choices("abcdefgh", k=10)) for _ in range(80)]
    lines += [f"u{i} v{i} w{i} x{i} y{i} z{i} s{i} t{i}" for i in range(18)]  # words of their own
    lines += ["a b c d e f g h", "h g f e d c b a"]
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines))
    corpus = load_corpus(text, min_count=1)
    words = corpus.vocabulary.words
    train = glue_maker.cut([words[i] for i in corpus.train])
    dev = glue_maker.cut([words[i] for part in (corpus.valid, corpus.test) for i in part])
    glue_maker.check("text.txt", train, dev)
    assert len(dev) == 2
    glue_maker.make_tasks(tmp_path / "glue", train[1::2], dev, 20, 20, seed=0)
    for name in NAMES:
        assert len(load_task(name, tmp_path / "glue").dev) == 20


def test_small_glue_says_in_a_line_that_too_few_sentences_are_left(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"u{i} v{i} w{i} x{i} y{i} z{i} s{i} t{i}" for i in range(40)))
    done = started("small_glue.py", str(tmp_path / "out"), "--corpus", str(text))
    assert done.returncode == 2
    assert "validation and test part" in done.stderr
    assert "it has 0" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["bert_trainer.py", "small_glue.py"])
def test_without_transformers_is_one_line(name: str, tmp_path: Path) -> None:
    path = ROOT / "scripts" / name
    program = (
        "import runpy, sys; sys.modules['transformers'] = None; "
        f"sys.argv = [{name!r}, {str(tmp_path / 'out')!r}][: 1 + ({name!r} == 'small_glue.py')]; "
        f"runpy.run_path({str(path)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(path.parent)},
    )
    assert done.returncode == 2
    assert "need transformers, which is not installed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_bert_trainer_runs_and_the_term_makes_a_difference() -> None:
    out = script("bert_trainer.py", "--updates", "5")
    found = re.findall(r"(with|without) IMM: (\d\.\d+) nats", out)
    assert [name for name, _ in found] == ["without", "with"]
    assert found[0][1] != found[1][1]


@pytest.mark.slow
def test_small_glue_makes_a_bert_and_four_tasks(tmp_path: Path) -> None:
    from imm_rl.language.masked_checkpoint import check_architecture, load_model, load_tokenizer

    counts = ("--updates", "3", "--train", "20", "--dev", "10")
    assert "pydoc" in script("small_glue.py", str(tmp_path), *counts)
    place = str(tmp_path / "bert")
    check_architecture(place)
    assert load_model(place, 2).config.vocab_size == len(load_tokenizer(place))
    for name in NAMES:
        data = load_task(name, tmp_path / "glue")
        assert Counter(example.label for example in data.train) == {0: 10, 1: 10}
        assert len(data.dev) == 10
        known = {text for example in data.train for text in example.texts}
        assert sum(text in known for example in data.dev for text in example.texts) <= 1
