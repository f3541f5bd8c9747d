"""No update waits for the device: here the device is PyTorch's `meta`, whose tensors have no values.

Whatever would make the host wait for a value (`.item()`, `bool()`, `torch.unique`, `nonzero`, boolean
masks, `.cpu()`, `repeat_interleave` without its size) is an error there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from imm_rl.language import ngram_rows
from imm_rl.language.corpus import Corpus
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import LMTrainer
from imm_rl.language.ngram import KneserNey

Settings = Callable[..., LMSettings]
WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t[0]),
    "truth": lambda t: bool((t > 0).all()),
    "list": lambda t: t.tolist(),
    "cpu": lambda t: t.cpu(),
    "unique": lambda t: torch.unique(t),
    "nonzero": lambda t: t.nonzero(),
    "mask": lambda t: t[t > 0],
    "masked_select": lambda t: t.masked_select(t > 0),
    "bincount": lambda t: torch.bincount(t),
    "repeat_interleave": lambda t: torch.repeat_interleave(t, t),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_meta_device_refuses_to_be_waited_for(name: str) -> None:
    tensor = torch.zeros(3, dtype=torch.int64).to("meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        WAITS[name](tensor)


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` knows none; it is off for float32, and waits for nothing."""
    monkeypatch.setattr(LanguageModel, "autocast", lambda self, device: nullcontext())


def on_meta(corpus: Corpus, settings: LMSettings, method: str, weight: str) -> LMTrainer:
    ngram = KneserNey(settings.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))
    return LMTrainer(corpus, settings, method, weight, ngram, seed=3, device="meta")


@pytest.mark.parametrize(("optimizer", "dense"), [("sgd", True), ("adam", False)])
@pytest.mark.parametrize("method", ["none", "noising", "batch", "sampled", "serialized"])
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_updates_do_not_wait_for_the_device(
    tiny_corpus: Corpus,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    method: str,
    optimizer: str,
    dense: bool,
) -> None:
    if not dense:
        monkeypatch.setitem(ngram_rows.NgramRows.__init__.__kwdefaults__, "dense_bytes", 0)
    size = {"model": model, "layers": 2, "heads": 2, "dropout": 0.2}
    settings = tiny_settings(unroll=4, optimizer=optimizer, order=3, **size)
    one = on_meta(tiny_corpus, settings, method, "0" if method == "none" else "linear:1->0@0.5")

    one.train(lambda t, _: t.updates < 3)

    assert one.updates == 3
    assert one.gradients.sums.looks == 1
    assert one.gradients.sums.terms == (0 if method == "none" else 3)
    assert all(p.grad is not None and p.grad.is_meta for p in one.model.parameters())


@pytest.mark.parametrize("weight", ["target-kl:0.05", "aligned:1"])
def test_adaptive_schedules_wait_as_documented(
    tiny_corpus: Corpus, tiny_settings: Settings, weight: str
) -> None:
    one = on_meta(tiny_corpus, tiny_settings(), "batch", weight)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|\.item"):
        one.train(lambda t, _: t.updates < 2)
