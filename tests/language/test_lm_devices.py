"""Trainings of both models on a device: on the CPU always, and on a GPU where there is one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from imm_rl import induced, losses
from imm_rl.language.corpus import Corpus
from imm_rl.language.language_model import build
from imm_rl.language.lm_checkpoint import load_checkpoint, save_checkpoint
from imm_rl.language.lm_settings import METHODS, LMSettings
from imm_rl.language.lm_training import LMTrainer
from imm_rl.language.ngram import KneserNey

Settings = Callable[..., LMSettings]
Trainers = Callable[..., LMTrainer]
Waits = Callable[[], AbstractContextManager[None]]

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    ),
]
on_devices = pytest.mark.parametrize("device", DEVICES)
both_models = pytest.mark.parametrize("model", ["lstm", "transformer"])
all_methods = pytest.mark.parametrize("method", METHODS)
SIZE: dict[str, Any] = {"layers": 2, "heads": 2, "dropout": 0.4, "unroll": 7, "memory": 9}
STEPS: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 1.0}
ROUNDING = 1e-4
"""What a GPU may add up differently in a short training; on the CPU nothing."""


@pytest.fixture
def on(tiny_corpus: Corpus, tiny_ngram: KneserNey, tiny_settings: Settings) -> Trainers:
    def make(device: str, method: str, *, seed: int = 3, **changes: Any) -> LMTrainer:
        settings = tiny_settings(**{**SIZE, **STEPS, "epochs": 2, **changes})
        weight = "0" if method == "none" else "0.5"
        options = {"seed": seed, "device": device}
        return LMTrainer(tiny_corpus, settings, method, weight, tiny_ngram, **options)

    return make


def flat(trainer: LMTrainer) -> Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in trainer.model.parameters()])


@on_devices
@both_models
@all_methods
def test_a_resumed_training_ends_as_one_in_one_go(
    on: Trainers, tmp_path: Path, device: str, model: str, method: str
) -> None:
    whole, first, second = (on(device, method, model=model) for _ in range(3))
    whole.train(lambda t, _: t.updates < 9)
    first.train(lambda t, _: t.updates < 5)
    save_checkpoint(first, tmp_path / "state.npz")
    load_checkpoint(second, tmp_path / "state.npz")
    second.train(lambda t, _: t.updates < 9)
    allowed = 0.0 if device == "cpu" else ROUNDING
    assert float((flat(whole) - flat(second)).abs().max()) <= allowed

    # Masks of another seed from there on are seen by this.
    other = on(device, method, model=model)
    load_checkpoint(other, tmp_path / "state.npz")
    other.dropout.state = on(device, method, model=model, seed=4).dropout.state
    other.train(lambda t, _: t.updates < 9)
    assert float((flat(whole) - flat(other)).abs().max()) > 10 * ROUNDING


@on_devices
@both_models
@all_methods
def test_updates_on_the_device_wait_for_nothing(
    on: Trainers, checked_by_cuda: Waits, device: str, model: str, method: str
) -> None:
    one = on(device, method, model=model, every=1)
    one.train(lambda t, _: t.updates < 2)
    # On the CPU there is nothing to check: `test_lm_no_waits` trains on `meta`.
    with checked_by_cuda() if device == "cuda" else nullcontext():
        one.train(lambda t, _: t.updates < 7)
    assert one.updates == 7
    assert bool(flat(one).isfinite().all())


@on_devices
@both_models
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_serialized_has_the_gradient_of_one_graph_under_dropout(
    tiny_settings: Settings, device: str, model: str, layers: int
) -> None:
    settings = tiny_settings(**{**SIZE, "layers": layers, "model": model, "init_range": 0.8})
    one = build(settings, 8, 1).to(device).train()
    generator = torch.Generator().manual_seed(0)
    histories = torch.randint(8, (4, 3, 5), generator=generator).to(device)
    target = torch.rand(4, 8, generator=generator).softmax(-1).to(device)
    even = torch.zeros(4, 3, device=device)

    def taken() -> list[Tensor]:
        found = [p.grad for p in one.parameters() if p.grad is not None]
        one.zero_grad(set_to_none=True)
        return found

    def in_one_graph(seed: int) -> tuple[Tensor, list[Tensor]]:
        torch.manual_seed(seed)
        parts = [one.after(histories[:, j : j + 1]) for j in range(3)]
        loss = losses.imm_loss(induced.sampled(torch.cat(parts, 1), even), target)
        loss.backward()
        return loss.detach(), taken()

    torch.manual_seed(11)
    found = losses.serialized_backward(one.after, histories, even, target), taken()
    torch.testing.assert_close(found, in_one_graph(11), rtol=1e-4, atol=1e-6)
    assert abs(float(found[0] - in_one_graph(12)[0])) > 1e-3  # other masks


@on_devices
@both_models
@pytest.mark.parametrize("method", ["batch", "serialized"])
def test_bfloat16_trains(on: Trainers, device: str, model: str, method: str) -> None:
    one = on(device, method, model=model, precision="bfloat16")
    before = flat(one)
    one.train(lambda t, _: t.updates < 12)
    assert bool(flat(one).isfinite().all())
    assert not torch.equal(flat(one), before)
    words = torch.zeros(2, 3, dtype=torch.int64, device=device)
    hidden, state = one.model.encode(words, one.model.start(2))
    expected = torch.float32 if model == "lstm" else torch.bfloat16
    assert {part.dtype for part in state} == {expected}
    assert hidden.dtype != torch.float16
    assert {p.dtype for p in one.model.parameters()} == {torch.float32}


@pytest.mark.slow
@on_devices
@pytest.mark.parametrize("method", ["batch", "serialized"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of PyTorch's own modules
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # PyTorch's advice
def test_a_compiled_training_warns_of_nothing_and_ends_as_an_eager_one(
    on: Trainers,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    device: str,
    method: str,
) -> None:
    """On the CPU the graphs are traced and differentiated; to build code of them takes minutes."""
    import torch._dynamo

    torch._dynamo.reset()
    if device == "cpu":
        backed = functools.partial(torch.compile, backend="aot_eager")
        monkeypatch.setattr(torch, "compile", backed)
    size = {"model": "transformer", "layers": 1, "dropout": 0.0}
    eager, compiled = (on(device, method, compile=c, **size) for c in (False, True))
    for one in (eager, compiled):
        one.train()
    torch._dynamo.reset()
    assert len(compiled.records) == 2
    torch.testing.assert_close(flat(compiled), flat(eager), rtol=0, atol=1e-4)
    assert capfd.readouterr().err == ""
