"""Fine-tuning a small BERT with the matching term: the same on a GPU, and how errors would show.

Whether the comparison can fail is tested on the CPU, with errors put in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from imm_rl.language import ngram_rows
from imm_rl.language.glue import load_task
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.language.glue_training import fine_tune
from imm_rl.language.masked_checkpoint import load_model
from imm_rl.language.masked_loss import IMMMaskedLMLoss


class Tuned(NamedTuple):
    """What a training leaves: the term of each update, the first gradient, and the weights at the end."""

    terms: torch.Tensor
    gradient: torch.Tensor
    weights: torch.Tensor


class Gaps(NamedTuple):
    """How far two trainings are apart.

    Attributes:
        terms: The largest difference of a term; nats.
        gradient: Of the first gradients, as a share of one's length.
        weights: At the end, as a share of the way that one's went. Adam makes a whole step of a gradient
            that is rounding alone.
    """

    terms: float
    gradient: float
    weights: float

    def agree(self) -> bool:
        return self.terms < 1e-2 and self.gradient < 1e-3 and self.weights < 0.3


Tuning = Callable[..., Tuned]


def flat(place: Path) -> torch.Tensor:
    """All weights of a checkpoint but the head of classes, which each training draws."""
    named = load_model(str(place), labels=2).state_dict()
    kept = [
        value.flatten()
        for name, value in named.items()
        if "classifier" not in name and "pooler" not in name
    ]
    return torch.cat([value for value in kept if value.is_floating_point()])


@pytest.fixture
def start(small_bert: Path, tmp_path: Path) -> Path:
    """The small BERT without dropout, whose masks a GPU draws otherwise."""
    place = tmp_path / "bert"
    shutil.copytree(small_bert, place)
    config = json.loads((place / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.fixture
def tuned(start: Path, small_glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuning:
    imm, step = IMMMaskedLMLoss._imm, torch.optim.AdamW.step
    generator = torch.Generator().manual_seed(1)

    def train(
        name: str, device: str = "cpu", *, sign: float = 1.0, noise: float = 0.0, **changes: Any
    ) -> Tuned:
        """The sign is the term's; noise is as a share of a gradient's largest number."""
        terms: list[float] = []
        gradients: list[torch.Tensor] = []

        def watched(self: IMMMaskedLMLoss, *arguments: Any) -> torch.Tensor:
            found = imm(self, *arguments)
            terms.append(float(found.detach()))
            return sign * found

        def stepped(self: Any, *arguments: Any, **options: Any) -> Any:
            grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
            for grad in grads if noise else []:
                drawn = torch.randn(grad.shape, generator=generator)
                grad.add_(noise * float(grad.abs().max()) * drawn)
            gradients.append(torch.cat([grad.flatten().cpu() for grad in grads]))
            return step(self, *arguments, **options)

        monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
        monkeypatch.setattr(IMMMaskedLMLoss, "_imm", watched)
        values = {"epochs": 3, "batch_size": 8, "k": 2, "learning_rate": 1e-3, **changes}
        fine_tune(
            load_task("mrpc", small_glue),
            *(str(start), GlueSettings(**values), "imm"),
            seed=0,
            folder=tmp_path / name,
            device=device,
            keep=tmp_path / f"{name}-model",
        )
        return Tuned(torch.tensor(terms), gradients[0], flat(tmp_path / f"{name}-model"))

    return train


def gaps(found: Tuned, expected: Tuned, first: torch.Tensor) -> Gaps:
    """Of two trainings from the same first weights."""
    way = expected.weights - first
    return Gaps(
        float((found.terms - expected.terms).abs().max()),
        float((found.gradient - expected.gradient).norm() / expected.gradient.norm()),
        float((found.weights - expected.weights).norm() / way.norm()),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("context", ["left", "both"])
@pytest.mark.parametrize("dense_bytes", [2**29, 0], ids=["dense", "sparse"])
def test_bert_with_the_term_trains_on_the_gpu_as_on_the_cpu(
    tuned: Tuning, start: Path, monkeypatch: pytest.MonkeyPatch, context: str, dense_bytes: int
) -> None:
    monkeypatch.setitem(ngram_rows.NgramRows.__init__.__kwdefaults__, "dense_bytes", dense_bytes)
    cpu, gpu = (tuned(device, device, context=context) for device in ("cpu", "cuda"))
    found = gaps(gpu, cpu, flat(start))
    assert found.agree(), found


@pytest.mark.parametrize("context", ["left", "both"])
def test_that_comparison_passes_rounding_and_no_error(
    tuned: Tuning, start: Path, context: str
) -> None:
    first, right = flat(start), tuned("right", context=context)
    assert len(right.terms) == 6
    near = gaps(tuned("near", context=context, noise=1e-7), right, first)
    assert near.agree(), near
    assert near.gradient > 0.0
    errors: dict[str, dict[str, Any]] = {
        "opposed": {"sign": -1.0},
        "weak": {"imm_lambda": "0.4"},
        "still": {"learning_rate": 1e-12},
        "slow": {"learning_rate": 5e-4},
    }
    for name, changes in errors.items():
        found = gaps(tuned(name, context=context, **changes), right, first)
        assert not found.agree(), (name, found)
