"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

# Before anything imports torch: tests run side by side, and small tensors are slower on several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference data folder ../shared/data is absent")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Solved policies are cached per test, never in the user's home."""
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path_factory.getbasetemp() / "imm-rl-cache"))


SENTENCES = (
    "the small cat sat on the mat",
    "a dog ran to the mat by the door",
    "the cat saw a dog by the door",
    "a small dog sat on the floor",
    "the dog ran and the cat sat",
    "by the door sat a small cat",
    "the mat is on the floor",
    "a cat ran to the small door",
)


@pytest.fixture(scope="session")
def glue_maker() -> ModuleType:
    """scripts/small_glue.py."""
    return module_at(Path(__file__).resolve().parents[1] / "scripts" / "small_glue.py")


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory: pytest.TempPathFactory, glue_maker: ModuleType) -> Path:
    """A folder of transformers: a BERT of 16 units with weights drawn from a seed, and a tokenizer."""
    from transformers import set_seed
    from transformers.utils import logging

    made = glue_maker
    tokenizer = made.word_pieces(SENTENCES, most=60)
    set_seed(0)
    model = made.new_bert(len(tokenizer), units=16, layers=1, heads=2)
    folder = tmp_path_factory.mktemp("bert")
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of GLUE's form: 16 training and 8 development examples of each task."""
    folder = tmp_path_factory.mktemp("glue")
    for name, header, line in (
        ("CoLA", "", "s\t{yes}\t\t{a}"),
        ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "{yes}\t{i}\t{part}\t{a}\t{b}"),
        ("QNLI", "index\tquestion\tsentence\tlabel\n", "{i}\t{a} ?\t{b}\t{word}"),
        ("RTE", "index\tsentence1\tsentence2\tlabel\n", "{i}\t{a}\t{b}\t{word}"),
    ):
        (folder / name).mkdir()
        for part, count in (("train", 16), ("dev", 8)):
            lines = []
            for i in range(count):
                yes = i % 2
                a = SENTENCES[i % 8]
                b = a if yes else SENTENCES[(i + 3) % 8]
                word = "entailment" if yes else "not_entailment"
                lines.append(line.format(i=i, part=part, yes=yes, a=a, b=b, word=word))
            (folder / name / f"{part}.tsv").write_text(header + "\n".join(lines) + "\n")
    return folder


def module_at(path: Path) -> ModuleType:
    """The module of a file that is in no package, such as a script."""
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_host_waits() -> Callable[[], AbstractContextManager[None]]:
    """`host_waits.no_host_waits`: a block in which nothing may wait for the device."""
    found: Callable[[], AbstractContextManager[None]]
    found = module_at(Path(__file__).with_name("host_waits.py")).no_host_waits
    return found


@pytest.fixture
def checked_by_cuda() -> Callable[[], AbstractContextManager[None]]:
    """`host_waits.checked_by_cuda`: where the host's own tensors may be looked at."""
    found: Callable[[], AbstractContextManager[None]]
    found = module_at(Path(__file__).with_name("host_waits.py")).checked_by_cuda
    return found
