"""The term of each method against slow loops, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imm_rl.language.corpus import Corpus
from imm_rl.language.histories import Contexts, windows
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_term import Grouped, MatchingTerm
from imm_rl.language.ngram import KneserNey
from imm_rl.language.ngram_rows import NgramRows

Settings = Callable[..., LMSettings]


class Made:
    """A term, and what it was made of."""

    def __init__(
        self, corpus: Corpus, settings: LMSettings, method: str, seed: int = 0, order: int = 2
    ) -> None:
        self.contexts = Contexts.of(torch.from_numpy(corpus.train), order)
        ngram = KneserNey(order).fit(corpus.train, vocab_size=8)
        self.rows = NgramRows(ngram, self.contexts.words)
        self.table = ngram.probs(self.contexts.words.numpy())
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        self.term = MatchingTerm(method, self.rows, self.contexts, settings, generator)
        self.model: LanguageModel = build(settings, 8, 4).double()

    def gradients(self) -> list[Tensor]:
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        for parameter in self.model.parameters():
            parameter.grad = None
        return found


Making = Callable[..., Made]


@pytest.fixture
def made(tiny_corpus: Corpus, tiny_settings: Settings) -> Making:
    def make(method: str, seed: int = 0, order: int = 2, **changes: Any) -> Made:
        settings = tiny_settings(order=order, init_range=0.8, **changes)
        return Made(tiny_corpus, settings, method, seed, order)

    return make


def batch_of(made: Made, items: int = 25) -> tuple[Tensor, Tensor]:
    """log Q (M, V) that need gradients and contexts (M,), with repetitions."""
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(scale=2.0, size=(items, 8)))
    ids = torch.from_numpy(rng.integers(len(made.contexts.words), size=items))
    return logits.log_softmax(-1).requires_grad_(), ids


def slow_batch_loss(log_probs: Tensor, ids: Tensor, table: np.ndarray) -> Tensor:
    """Σ over groups of (its share of the positions) · CE(P̂, mean of the group's Q)."""
    total = log_probs.new_zeros(())
    for context in sorted(set(ids.tolist())):
        members = [m for m in range(len(ids)) if ids[m] == context]
        induced = sum(log_probs[m].exp() for m in members) / len(members)
        for y in range(8):
            total = total - len(members) / len(ids) * table[context, y] * induced[y].log()
    return total


@pytest.mark.parametrize("order", [2, 3])
def test_batch_equals_a_slow_loop_over_groups(made: Making, order: int) -> None:
    one = made("batch", order=order)
    log_probs, ids = batch_of(one, 25 if order == 2 else 60)
    assert len(set(ids.tolist())) < len(ids)

    term = one.term.in_graph("batch", log_probs, ids)

    assert term is not None
    expected = slow_batch_loss(log_probs, ids, one.table)
    torch.testing.assert_close(term.loss, expected, rtol=1e-6, atol=0)
    found = torch.autograd.grad(term.loss, log_probs)[0]
    torch.testing.assert_close(
        found, torch.autograd.grad(expected, log_probs)[0], rtol=1e-5, atol=1e-9
    )


def test_noising_equals_its_formula_and_bounds_batch(made: Making) -> None:
    one = made("noising")
    log_probs, ids = batch_of(one)

    term = one.term.in_graph("noising", log_probs, ids)
    batch = one.term.in_graph("batch", log_probs, ids)

    assert term is not None
    assert batch is not None
    own = one.table[ids.numpy()]
    expected = -(own * log_probs.detach().numpy()).sum(-1).mean()
    assert term.loss.item() == pytest.approx(expected, rel=1e-6)
    assert term.loss > batch.loss + 0.1
    found = torch.autograd.grad(term.loss, log_probs)[0]
    np.testing.assert_allclose(found, -own / len(ids), rtol=1e-5)


def test_noising_and_batch_are_one_where_no_context_comes_twice(made: Making) -> None:
    one = made("batch")
    log_probs, _ = batch_of(one, 5)
    ids = torch.tensor([4, 2, 0, 1, 5])
    losses = [one.term.in_graph(kind, log_probs, ids) for kind in ("noising", "batch")]
    assert losses[0] is not None
    assert losses[1] is not None
    torch.testing.assert_close(losses[0].loss, losses[1].loss)


@pytest.mark.parametrize("order", [2, 3])
def test_drawn_equals_a_slow_loop_over_the_same_histories(made: Making, order: int) -> None:
    one = made("sampled", seed=7, order=order, contexts=0, dropout=0.0)
    ids = torch.tensor([2, 0, 2, 2, 5])

    found = one.term.backward(one.model, ids, 0.7)
    gradients = one.gradients()

    again = torch.Generator().manual_seed(7)
    ends = one.contexts.ends(torch.tensor([0, 2, 5]), 3, again)
    histories = windows(one.contexts.tokens, ends, 4)
    loss = torch.zeros((), dtype=torch.float64)
    for row, (context, size) in enumerate([(0, 1), (2, 3), (5, 1)]):
        induced = one.model.after(histories[row]).exp().mean(0)
        loss = loss - size / 5 * (torch.from_numpy(one.table[context]) * induced.log()).sum()
    (0.7 * loss).backward()
    torch.testing.assert_close(found, loss.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients, one.gradients(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("k", [1, 4])
def test_serialized_gives_the_gradient_of_sampled(made: Making, k: int) -> None:
    found = {}
    for method in ("sampled", "serialized"):
        one = made(method, seed=7, dropout=0.0, k=k, contexts=9)
        ids = batch_of(one)[1]
        loss = one.term.backward(one.model, ids, 0.7)
        found[method] = (loss, one.gradients())
    assert not found["sampled"][0].requires_grad
    torch.testing.assert_close(found["serialized"], found["sampled"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_serialized_sees_one_model_under_dropout(made: Making, model: str, layers: int) -> None:
    size = {"model": model, "layers": layers, "heads": 2}
    one = made("serialized", seed=7, dropout=0.5, contexts=0, k=3, **size)
    one.model.train()
    ids = torch.tensor([2, 0, 2, 5])
    torch.manual_seed(11)
    loss = one.term.backward(one.model, ids, 1.0)
    found = one.gradients()

    # A history at a time under the masks of the same seed, in one graph.
    again = torch.Generator().manual_seed(7)
    ends = one.contexts.ends(torch.tensor([0, 2, 5]), 3, again)
    histories = windows(one.contexts.tokens, ends, 4)
    torch.manual_seed(11)
    parts = [one.model.after(histories[:, j : j + 1]) for j in range(3)]
    induced = torch.cat(parts, 1).exp().mean(1)
    shares = torch.tensor([0.25, 0.5, 0.25]).double().unsqueeze(1)
    target = torch.from_numpy(one.table[[0, 2, 5]])
    expected = -(shares * target * induced.log()).sum()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found, one.gradients(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("method", ["sampled", "serialized"])
def test_drawn_methods_show_the_model_histories_of_so_many_contexts(
    made: Making, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    after = LanguageModel.after

    def watched(self: LanguageModel, histories: Tensor) -> Tensor:
        seen.append(tuple(histories.shape))
        return after(self, histories)

    monkeypatch.setattr(LanguageModel, "after", watched)
    for contexts, groups in ((0, 7), (100, 7), (7, 7), (4, 4), (1, 1)):
        one = made(method, contexts=contexts, k=3, history=5)
        seen.clear()
        one.term.backward(one.model, torch.arange(7), 1.0)
        if method == "sampled":
            assert seen == [(groups, 3, 5)]
        else:  # two passes, one history at a time
            assert seen == [(groups, 1, 5)] * 6


def test_matched_positions_are_drawn_anew_for_each_update(
    made: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made("sampled", contexts=2)
    found: list[tuple[int, ...]] = []
    probs = NgramRows.probs

    def watched(self: NgramRows, ids: Tensor) -> Tensor:
        found.append(tuple(ids.tolist()))
        return probs(self, ids)

    monkeypatch.setattr(NgramRows, "probs", watched)
    for _ in range(6):
        one.term.backward(one.model, torch.arange(7), 1.0)
    assert [len(pair) for pair in found] == [2] * 6
    assert len(set(found)) > 1
    assert {row for pair in found for row in pair} <= set(range(7))


@pytest.mark.parametrize("between", ["none", "noising", "batch"])
@pytest.mark.parametrize("method", ["sampled", "serialized"])
def test_kind_alternates_between_drawing_and_not(made: Making, method: str, between: str) -> None:
    one = made(method, every=3, between=between)
    kinds = [one.term.kind(update) for update in range(7)]
    assert kinds == [method, between, between, method, between, between, method]


@pytest.mark.parametrize("method", ["noising", "batch"])
def test_kind_is_the_method_where_nothing_is_drawn(made: Making, method: str) -> None:
    one = made(method, every=3, between="none")
    assert [one.term.kind(update) for update in range(4)] == [method] * 4


def test_in_graph_has_no_term_for_drawn_methods_and_none(made: Making) -> None:
    one = made("sampled")
    log_probs, ids = batch_of(one)
    for kind in ("none", "sampled", "serialized"):
        assert one.term.in_graph(kind, log_probs, ids) is None


def test_grouped_counts_positions_by_context() -> None:
    found = Grouped.of(torch.tensor([9, 4, 9, 9, 0]))
    assert found.ids.tolist() == [0, 4, 9]
    assert found.group.tolist() == [2, 1, 2, 2, 0]
    assert found.sizes.tolist() == [1.0, 1.0, 3.0]


def test_measures_equal_a_slow_loop(made: Making) -> None:
    one = made("batch")
    log_probs, ids = batch_of(one)
    term = one.term.in_graph("batch", log_probs, ids)
    assert term is not None

    measured = one.term.measures(term, Grouped.of(ids).sizes)

    kl = agreement = 0.0
    for context in sorted(set(ids.tolist())):
        members = (ids == context).nonzero().flatten()
        induced = log_probs[members].exp().mean(0).detach().numpy()
        target = one.table[context]
        share = len(members) / len(ids)
        kl += share * float((target * np.log(target / induced)).sum())
        agreement += share * float(target[induced.argmax()] == target.max())
    assert measured["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert measured["agreement"].item() == pytest.approx(agreement, rel=1e-6)
