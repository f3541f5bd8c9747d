from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.lm_evaluation import induced_probs, perplexity
from imm_rl.language.lm_settings import LMSettings

Settings = Callable[..., LMSettings]
TOKENS = torch.from_numpy(np.random.default_rng(3).integers(7, size=50))


@pytest.fixture
def model(tiny_settings: Settings) -> LanguageModel:
    return build(tiny_settings(init_range=0.9), 8, 1).eval()


def slow_log_probs(model: LanguageModel, streams: int) -> Tensor:
    """(49, V), log Q after each word but the last, each stream from an empty state."""
    length = math.ceil(49 / streams)
    rows = []
    for position in range(49):
        start = position // length * length
        rows.append(model.after(TOKENS[start : position + 1]))
    return torch.stack(rows).detach().double()


@pytest.mark.parametrize("streams", [1, 3, 10])
@pytest.mark.parametrize("unroll", [1, 7, 100])
def test_perplexity_equals_a_slow_loop(model: LanguageModel, streams: int, unroll: int) -> None:
    logs = slow_log_probs(model, streams)[torch.arange(49), TOKENS[1:]]
    found = perplexity(model, TOKENS, streams=streams, unroll=unroll)
    assert found == pytest.approx(math.exp(-float(logs.mean())), rel=1e-5)


def test_perplexity_depends_on_the_histories(model: LanguageModel) -> None:
    assert perplexity(model, TOKENS, streams=1) != pytest.approx(
        perplexity(model, TOKENS, streams=25), rel=1e-4
    )


def test_perplexity_tells_divergence(model: LanguageModel) -> None:
    with torch.no_grad():
        model.output.bias[7] = 1e5  # a word that the text never has
    assert perplexity(model, TOKENS) == math.inf
    with torch.no_grad():
        model.output.bias[7] = math.nan
    assert math.isnan(perplexity(model, TOKENS))


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("streams", [1, 4])
def test_induced_probs_equal_a_slow_loop(model: LanguageModel, order: int, streams: int) -> None:
    contexts = Contexts.of(TOKENS, order)
    n_contexts = len(contexts.words)
    rng = np.random.default_rng(1)
    asked = torch.from_numpy(rng.integers(n_contexts, size=40))  # some pairs twice
    words = torch.from_numpy(rng.integers(8, size=40))

    found = induced_probs(model, contexts, asked, words, streams=streams, unroll=6)

    probs = slow_log_probs(model, streams).exp()
    for pair in range(40):
        at = [p for p in range(49) if contexts.ids[p] == asked[pair]]
        expected = probs[at, words[pair]].mean() if at else torch.tensor(1 / 8)
        assert float(found[pair]) == pytest.approx(float(expected), rel=1e-5)


def test_induced_probs_of_all_words_sum_to_one(model: LanguageModel) -> None:
    contexts = Contexts.of(TOKENS, 2)
    asked = torch.arange(len(contexts.words)).repeat_interleave(8)
    found = induced_probs(model, contexts, asked, torch.arange(8).repeat(len(contexts.words)))
    sums = found.view(-1, 8).sum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-5, atol=0)


def test_induced_probs_are_uniform_after_a_context_that_only_ends_the_text(
    model: LanguageModel,
) -> None:
    contexts = Contexts.of(torch.tensor([0, 1, 0, 1, 2]), 2)
    asked, words = torch.tensor([2, 2, 0, 0]), torch.tensor([0, 5, 0, 5])
    found = induced_probs(model, contexts, asked, words)
    assert found[:2].tolist() == [0.125] * 2
    assert float((found[2] - found[3]).abs()) > 0.01


def test_induced_probs_of_no_pair_are_none(model: LanguageModel) -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert induced_probs(model, Contexts.of(TOKENS, 2), none, none).shape == (0,)
