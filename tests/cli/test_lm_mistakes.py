"""Every mistake of `imm-rl lm ...` is one clear line on stderr and exit code 2, and writes nothing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]

LINES = "a b c d\nb c d a\nc d\n" * 8
FILES = {
    "text/train.txt": LINES,
    "text/valid.txt": "a b\n",
    "text/test.txt": "b c d\n",
    "half/train.txt": LINES,
    "half/test.txt": LINES,
    "short/train.txt": "a b c\n",
    "short/valid.txt": "a b\n",
    "short/test.txt": "a b\n",
    "empty/notes.md": "",
    "latin.txt": "",
    "malformed.yaml": "corpus: [text\n",
    "unknown.yaml": "corpus: text\nhiden_size: 3\n",
    "agent.yaml": "env: tiger\n",
    "typed.yaml": "epochs: many\n",
    "vast.yaml": "epochs: 10000000000\n",
    "real.yaml": "epochs: 2.5\n",
    "useless.yaml": "method: batch\nk: 3\n",
    "null.yaml": "method: null\n",
    "list.yaml": "- corpus\n",
    "file": "",
    "garbage.npz": "no archive",
}

LONG = "n" * 300

TRAIN = [
    # names
    ("--corpus pydok", "unknown corpus 'pydok'. Did you mean 'pydoc'?"),
    ("--corpus none/text", "corpus {here}/none/text: there is no such file or folder"),
    ("--corpus empty", "{here}/empty has no text"),
    (
        "--corpus half",
        "{here}/half has no valid.txt; looked for are train.txt, valid.txt, test.txt",
    ),
    ("--corpus latin.txt", "is no UTF-8 text: line 1 has the byte 0xe9"),
    ("--corpus file", "has no words"),
    (
        "--corpus short --batch-size 9",
        "the training text has 4 words, and batch_size 9 needs at least 10",
    ),
    (
        "--corpus text --order 4",
        "the validation text has 3 words, and order 4 needs at least as many",
    ),
    (
        "--corpus text --model transformer --hidden-size 8 --epochs 3 --warmup 3",
        "warmup must be less than the updates of the training, 3 (3 epochs of 1); received 3. Take",
    ),
    (
        "--corpus text --preset gpu --warmup 1000",
        "warmup must be less than the updates of the training, 40 ",
    ),
    ("--corpus text --warmup 200 --dry-run", "warmup must be less than the updates"),
    ("--method bach", "unknown method 'bach'. Did you mean 'batch'?"),
    ("--lambda paper", "lambda 'paper' is the rule of the paper's agents"),
    ("--start epoch:40", "start must come before the end, epoch:"),
    ("--method sampled --every 1 --between none", "between is of no use where every update draws"),
    ("--preset papr", "unknown preset 'papr'. Did you mean 'paper'?"),
    ("--model transfomer", "unknown model 'transfomer'. Did you mean 'transformer'?"),
    ("--memory 8", "memory is of no use to the model 'lstm'"),
    ("--optimizer adm", "unknown optimizer 'adm'. Did you mean 'adam'?"),
    (
        "--method sampled --between sampled",
        "unknown between 'sampled'. Known: batch, noising, none",
    ),
    ("--device gpu", "unknown device 'gpu'"),
    # options
    ("--epoch 3", "unknown option '--epoch'. Did you mean '--epochs'?"),
    ("--hiden-size 3", "unknown option '--hiden-size'. Did you mean '--hidden-size'?"),
    ("--epochs", "--epochs: expected one argument"),
    ("text", "unexpected argument 'text'"),
    # values
    ("--epochs 0", "epochs must be a whole number ≥ 1"),
    ("--epochs many", "epochs must be a whole number ≥ 1"),
    ("--batch-size 2.5", "batch_size must be a whole number ≥ 1"),
    ("--dropout 1", "dropout must be in [0, 1)"),
    ("--dropout -0.1", "dropout must be in [0, 1)"),
    ("--learning-rate fast", "learning_rate must be a number"),
    ("--learning-rate 0", "learning_rate must be > 0"),
    ("--start-learning-rate 0", "start_learning_rate must be > 0"),
    ("--clip nan", "clip must be a number"),
    ("--decay 1.5", "decay must be in (0, 1]"),
    ("--tied maybe", "tied must be true or false"),
    ("--order 1", "order must be a whole number ≥ 2"),
    ("--min-count 0", "min_count must be a whole number ≥ 1"),
    ("--corpus text --max-vocab 1", "max_vocab must be a whole number ≥ 2"),
    ("--seeds 3-", "seeds must be whole numbers ≥ 0"),
    ("--seeds 1,1", "seeds must all differ"),
    ("--start soon", "start must be epoch:N, N ≥ 0, or ppl:X, X ≥ 1; received 'soon'"),
    ("--start epoch:0.5", "start must be epoch:N"),
    ("--seeds 4294967296", "seeds must be at most 4,294,967,295"),
    ("--epochs 1e20", "epochs must be at most 2,147,483,647; received '1e20'"),
    ("--layers 1e20", "layers must be at most 2,147,483,647"),
    ("--method sampled --history 1e20", "history must be at most 2,147,483,647"),
    ("--config vast.yaml", "epochs must be at most 2,147,483,647; received 10000000000"),
    (
        "--corpus text --batch-size 2 --layers 2147483647",
        " GB of memory. Take a smaller hidden_size or max_vocab, or fewer layers.",
    ),
    (
        "--corpus text --batch-size 2 --model transformer --warmup 0 --hidden-size 2147483640",
        "the model would have 1.66e+20 parameters, ",
    ),
    (
        "--corpus text --batch-size 2 --method sampled --history 2147483647",
        "history must be at most the words of the training text, ",
    ),
    (f"--corpus {LONG}", f"File name too long: {LONG}"),
    (f"--config {LONG}", f"cannot read {LONG}: File name too long."),
    ("--lambda much", "a λ schedule must be a number or have one of the forms 0.25"),
    ("--lambda -1", "at least 0; received -1.0"),
    ("--method sampled --contexts -1", "contexts must be a whole number ≥"),
    # contradictions
    ("--method none --lambda 0.5", "the method 'none' has no term to weigh. Leave it out"),
    ("--method none --start epoch:3", "start is of no use to the method 'none'"),
    ("--k 3", "k is of no use to the method 'batch'. Leave it out, or choose --method sampled"),
    ("--method noising --history 9", "history is of no use to the method 'noising'"),
    (
        "--method sampled --order 4 --history 2",
        "history must hold the context, 3 words; received 2",
    ),
    ("--dry-run --print-config", "--print-config and --dry-run exclude each other"),
    ("--dry-run --json", "--json prints a run's summary, and --dry-run runs nothing"),
    ("--print-config --json", "--print-config runs nothing"),
    # files
    ("--config none.yaml", "cannot read none.yaml"),
    ("--config malformed.yaml", "malformed.yaml, line 2: malformed YAML"),
    (
        "--config unknown.yaml",
        "unknown key 'hiden_size' in unknown.yaml. Did you mean 'hidden_size'?",
    ),
    ("--config agent.yaml", "unknown key 'env' in agent.yaml"),
    ("--config typed.yaml", "epochs must be a whole number ≥ 1"),
    ("--config real.yaml", "epochs must be a whole number ≥ 1; received 2.5"),
    ("--config useless.yaml", "k is of no use to the method 'batch'"),
    ("--config null.yaml", "method must be a text"),
    ("--config list.yaml", "list.yaml must hold names with values"),
    ("--corpus text --logdir file", "cannot write runs to file: {here}/file is no folder"),
    ("--corpus text --logdir file/runs", "is no folder"),
    ("--corpus ~nosuchuser/t", "~nosuchuser/t: the home folder ~nosuchuser is not known here"),
    ("--resume ~nosuchuser/t", "the home folder ~nosuchuser is not known here"),
    ("--resume none", "there is no folder none"),
    ("--resume text", "text is no run folder: it has no config.yaml"),
    ("--resume text --k 3", "cannot be combined with --k"),
]
OTHERS = [
    ("lm trian", "imm-rl: error: unknown command 'lm trian'. Did you mean 'lm train'?"),
    ("lm --evn", "unknown option '--evn'. Did you mean '--version'? See imm-rl lm --help"),
    ("lmtrain", "unknown command 'lmtrain'. Did you mean 'lm train'?"),
    ("lm evaluate", "there is no finished run below runs/lm"),
    (f"lm evaluate {LONG}", f"File name too long: {LONG}"),
    (f"lm generate {LONG}", f"File name too long: {LONG}"),
    ("lm evaluate none", "there is no file or folder none"),
    ("lm evaluate empty", "empty has no model.npz"),
    ("lm evaluate garbage.npz", "garbage.npz is no checkpoint of a language model: it is no whole"),
    ("lm evaluate --device gpu", "unknown device 'gpu'"),
    ("lm evaluate --corpsu text", "Did you mean '--corpus'?"),
    ("lm generate", "there is no finished run below runs/lm"),
    ("lm generate garbage.npz", "garbage.npz is no checkpoint of a language model"),
    ("lm generate --words 0", "--words must be a whole number ≥ 1"),
    ("lm generate --temperature 0", "--temperature must be a number > 0; received '0'"),
    ("lm generate --temperature cold", "--temperature must be a number > 0"),
    ("lm generate --top-k -1", "--top-k must be a whole number ≥ 0"),
    ("lm generate --seed x", "--seed must be a whole number ≥ 0"),
    ("lm generate --seed 18446744073709551616", "--seed must be at most 4,294,967,295"),
    ("lm generate --words 1e20", "--words must be at most 2,147,483,647"),
    ("lm generate --logdir ~nosuchuser/t", "the home folder ~nosuchuser is not known here"),
]
MISTAKES = [*((f"lm train {words}", message) for words, message in TRAIN), *OTHERS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_clear_line(
    imm_rl_command: Command, folder: Path, words: str, message: str
) -> None:
    before = _files(folder)

    outcome = imm_rl_command(*shlex.split(words))

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    command = " ".join(words.split()[:2])
    known = command in ("lm train", "lm evaluate", "lm generate")
    assert outcome.err.startswith(f"imm-rl {command}: error: " if known else "imm-rl: error: ")
    assert message.format(here=folder) in outcome.err
    assert _files(folder) == before


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_cuda_device_that_is_not_there_is_one_clear_line(
    imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = _files(folder)

    outcome = imm_rl_command("lm", command, "--corpus", "text", "--device", "cuda")

    assert outcome.code == 2
    assert "device 'cuda' was asked for, and PyTorch finds no CUDA device here" in outcome.err
    assert _files(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_clear_line(imm_rl_command: Command, folder: Path) -> None:
    (folder / "shut").mkdir(mode=0o500)
    outcome = imm_rl_command("lm", "train", "--corpus", "text", "--logdir", "shut")
    assert outcome.code == 2
    assert "cannot write runs to shut: " in outcome.err


def test_options_are_checked_before_any_text_is_read(
    imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*args: object, **options: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("imm_rl.cli.lm_folder.load_corpus", read)
    for words in (["--epochs", "0"], ["--lambda", "x"], ["--logdir", "file"], ["--device", "gpu"]):
        assert imm_rl_command("lm", "train", *words).code == 2
    assert imm_rl_command("lm", "train", "--print-config").code == 0
    with pytest.raises(AssertionError, match="read"):
        imm_rl_command("lm", "train")
