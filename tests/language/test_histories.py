from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from imm_rl.errors import InvalidInputError
from imm_rl.language.histories import Contexts, windows

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(4, size=60))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(
    contexts: Contexts, ids: torch.Tensor, k: int, length: int, generator: torch.Generator
) -> torch.Tensor:
    return windows(contexts.tokens, contexts.ends(ids, k, generator), length)


@pytest.mark.parametrize("order", [2, 3])
def test_contexts_equal_a_slow_search(order: int) -> None:
    contexts = Contexts.of(TOKENS, order)

    text = TOKENS.tolist()
    # text[-1] before text[0]: the text goes round in a ring.
    ending = [tuple(text[p - i] for i in range(order - 2, -1, -1)) for p in range(len(text))]
    distinct = sorted(set(ending))
    assert [tuple(row) for row in contexts.words.tolist()] == distinct
    assert contexts.ids.tolist() == [distinct.index(context) for context in ending]
    for number, context in enumerate(distinct):
        own = contexts.positions[contexts.starts[number] : contexts.starts[number + 1]]
        assert own.tolist() == [p for p, found in enumerate(ending) if found == context]
    assert contexts.starts[-1] == len(text)


@pytest.mark.parametrize("order", [2, 3])
def test_drawn_histories_are_windows_of_the_ring_that_end_in_their_context(order: int) -> None:
    contexts = Contexts.of(TOKENS, order)
    ids = torch.arange(len(contexts.words)).repeat(3)

    drawn = draw(contexts, ids, 40, 7, seeded(1))

    assert drawn.shape == (len(ids), 40, 7)
    expected = contexts.words[ids].unsqueeze(1).expand(-1, 40, -1)
    assert torch.equal(drawn[:, :, 8 - order :], expected)
    ring = torch.cat([TOKENS[-6:], TOKENS]).unfold(0, 7, 1)
    whole = {tuple(window) for window in ring.tolist()}
    found = {tuple(history) for history in drawn.flatten(0, 1).tolist()}
    assert found == whole  # so many draws: all of them, those across the end included


def test_draws_take_each_history_of_a_context_equally_often() -> None:
    tokens = torch.tensor([0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0])
    contexts = Contexts.of(tokens, 2)

    drawn = draw(contexts, torch.tensor([0]), 7000, 2, seeded(2))

    # Before a 0 stands: the ring's last 0, then 1, 2, 3, 4, 5 and 0; two of the seven are 0.
    counts = torch.bincount(drawn[0, :, 0], minlength=6).tolist()
    assert chisquare(counts, [2000, 1000, 1000, 1000, 1000, 1000]).pvalue > 0.01


def test_draws_repeat_with_their_seed_and_change_with_it() -> None:
    contexts = Contexts.of(TOKENS, 2)
    ids = torch.arange(4)
    first, again, other = (draw(contexts, ids, 5, 3, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_histories_longer_than_the_text_go_round_it() -> None:
    contexts = Contexts.of(torch.tensor([0, 1, 2]), 2)
    drawn = draw(contexts, torch.tensor([1]), 1, 7, seeded(0))
    assert drawn.tolist() == [[[1, 2, 0, 1, 2, 0, 1]]]


@pytest.mark.parametrize(
    ("tokens", "order", "message"),
    [
        (TOKENS, 1, "order must be at least 2"),
        (TOKENS[:2], 3, r"tokens must have the shape \(T,\), T ≥ 3; received \(2,\)"),
        (TOKENS.view(6, 10), 2, r"received \(6, 10\)"),
    ],
)
def test_contexts_refuse_bad_arguments(tokens: torch.Tensor, order: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Contexts.of(tokens, order)
