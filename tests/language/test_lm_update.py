from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus
from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.level import Level
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_term import MatchingTerm
from imm_rl.language.lm_update import EpochSums, Updates
from imm_rl.language.ngram import KneserNey
from imm_rl.language.ngram_rows import NgramRows
from imm_rl.schedules import WeightController

Settings = Callable[..., LMSettings]


class Case:
    """One piece of text before a model, with a term or without."""

    def __init__(
        self,
        corpus: Corpus,
        settings: LMSettings,
        method: str,
        weight: str,
        ngram: BackoffModel | None = None,
    ) -> None:
        tokens = torch.from_numpy(corpus.train)
        self.contexts = Contexts.of(tokens, 2)
        ngram = ngram or KneserNey(2).fit(corpus.train, vocab_size=8)
        rows = NgramRows(ngram, self.contexts.words)
        generator = torch.Generator().manual_seed(0)
        self.term = MatchingTerm(method, rows, self.contexts, settings, generator)
        self.model: LanguageModel = build(settings, 8, 4).eval()
        self.controller = WeightController([weight])
        self.updates = Updates(self.model, None if method == "none" else self.term, self.controller)
        self.inputs, self.targets = tokens[:30].view(3, 10), tokens[1:31]
        self.ids = self.contexts.ids[:30]

    def forward(self) -> tuple[Tensor, Tensor]:
        hidden, _ = self.model.encode(self.inputs, self.model.start(3))
        log_probs = self.model.log_probs(hidden).flatten(0, 1)
        return nll_loss(log_probs, self.targets), log_probs

    def add(self, update: int = 0, progress: float = 0.0, *, started: bool = True) -> list[Tensor]:
        main, log_probs = self.forward()
        self.updates.add_gradient(main, log_probs, self.ids, update, progress, started=started)
        return self.taken()

    def taken(self) -> list[Tensor]:
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        for parameter in self.model.parameters():
            parameter.grad = None
        return found

    def by_hand(self, kind: str, weight: float) -> list[Tensor]:
        main, log_probs = self.forward()
        term = self.term.in_graph(kind, log_probs, self.ids)
        (main if term is None else main + weight * term.loss).backward()
        return self.taken()


@pytest.fixture
def case(tiny_corpus: Corpus, tiny_settings: Settings) -> Callable[..., Case]:
    def make(method: str, weight: str, ngram: BackoffModel | None = None, **changes: Any) -> Case:
        settings = tiny_settings(init_range=0.5, **changes)
        return Case(tiny_corpus, settings, method, weight, ngram)

    return make


@pytest.mark.parametrize("method", ["noising", "batch"])
def test_gradient_is_main_plus_weighted_term(case: Callable[..., Case], method: str) -> None:
    one = case(method, "linear:2->0@1")
    torch.testing.assert_close(one.add(progress=0.25), one.by_hand(method, 1.5))
    sums = one.updates.sums
    assert (sums.words, sums.updates, sums.terms, sums.weight) == (30, 1, 1, 1.5)


def test_gradient_is_main_alone_before_the_start_and_without_a_term(
    case: Callable[..., Case],
) -> None:
    alone = case("none", "0").add()
    one = case("batch", "2")
    torch.testing.assert_close(one.add(started=False), alone, rtol=0, atol=0)
    assert (one.updates.sums.terms, one.updates.sums.weight) == (0, 0.0)
    assert one.updates.sums.looks == 1  # measured all the same


@pytest.mark.parametrize("method", ["sampled", "serialized"])
def test_drawn_gradient_is_main_plus_weighted_term_every_so_often(
    case: Callable[..., Case], method: str
) -> None:
    one, same = case(method, "0.5", every=2), case("sampled", "0.5", every=2)
    found = one.add(update=2)
    main, _ = same.forward()
    main.backward()
    same.term.backward(same.model, same.ids, 0.5)
    torch.testing.assert_close(found, same.taken(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(one.add(update=3), one.by_hand("batch", 0.5))


def cosine(one: Case) -> float:
    main = torch.cat([g.flatten() for g in one.by_hand("none", 0.0)])
    both = torch.cat([g.flatten() for g in one.by_hand("batch", 1.0)])
    return float(torch.cosine_similarity(main, both - main, dim=0))


def test_aligned_weighs_by_the_cosine_of_this_update(case: Callable[..., Case]) -> None:
    one = case("batch", "aligned:3")
    expected = 3 * cosine(one)
    assert expected > 0.3
    found = one.add()
    torch.testing.assert_close(found, one.by_hand("batch", expected), rtol=1e-4, atol=1e-6)
    assert one.updates.sums.weight == pytest.approx(expected, rel=1e-4)


def test_aligned_leaves_out_a_gradient_that_opposes(case: Callable[..., Case]) -> None:
    # After any word <unk>, which the text never has: the term takes away from every target.
    opposing = BackoffModel([0.001] * 7 + [0.993], [])
    level = Level.from_ngrams(
        np.zeros((0, 2), dtype=np.int64), np.zeros(0), np.zeros((0, 1), dtype=np.int64), np.zeros(0)
    )
    opposing = BackoffModel(opposing.unigram, [level])
    one = case("batch", "aligned:3", opposing)
    assert cosine(one) < -0.1
    torch.testing.assert_close(one.add(), one.by_hand("none", 0.0))
    assert one.updates.sums.weight == 0.0


@pytest.mark.parametrize("method", ["sampled", "serialized"])
@pytest.mark.parametrize("contexts", [0, 3])
def test_aligned_drawn_adds_its_gradient_by_the_cosine_where_that_is_positive(
    case: Callable[..., Case], method: str, contexts: int
) -> None:
    one, same = (
        case(name, "aligned:1", every=1, contexts=contexts) for name in (method, "sampled")
    )
    main = same.by_hand("none", 0.0)
    same.term.backward(same.model, same.ids, 1.0)
    drawn = same.taken()
    flat = [torch.cat([g.flatten() for g in side]) for side in (main, drawn)]
    expected = max(0.0, float(torch.cosine_similarity(*flat, dim=0)))
    assert (expected > 0.1) == (contexts == 0)  # the gradient of three contexts opposes

    found = one.add()

    assert one.updates.sums.weight == pytest.approx(expected, rel=1e-4)
    weighted = [a + expected * b for a, b in zip(main, drawn, strict=True)]
    torch.testing.assert_close(found, weighted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("target", "rises"), [("0.001", True), ("50", False)])
def test_target_kl_moves_the_weight_towards_the_target(
    case: Callable[..., Case], target: str, rises: bool
) -> None:
    one = case("batch", f"target-kl:{target}")
    weights = []
    for update in range(4):
        one.add(update)
        weights.append(float(one.controller.weights(0.0)[0]))
    differences = np.diff([1.0, *weights])
    assert (differences > 0).all() if rises else (differences < 0).all()


def test_measures_cost_no_random_number(case: Callable[..., Case]) -> None:
    one = case("sampled", "0.5", dropout=0.5)
    one.model.train()
    torch.manual_seed(0)
    main, log_probs = one.forward()
    before = torch.get_rng_state()
    one.updates.add_gradient(main, log_probs, one.ids, 10, 0.0, started=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.updates.sums.looks == 1


# --- sums of an epoch ---------------------------------------------------------------------------


def test_sums_come_back_from_their_values() -> None:
    sums = EpochSums(
        30, torch.tensor(12.5), 3, 1.5, 2, torch.tensor(4.0), 1, torch.tensor(0.25), 0.5
    )
    again = EpochSums.of(np.array(sums.values()))
    assert again.values() == [30, 12.5, 3, 1.5, 2, 4.0, 1, 0.25, 0.5]
    assert [type(value) for value in vars(again).values()] == [
        *(int, float, int, float, int, float, int, float, float)
    ]


def test_means_of_an_epoch_are_hand_values() -> None:
    sums = EpochSums(30, torch.tensor(60.0), 4, 1.0, 2, 5.0, 5, 1.0, 2.0)
    assert sums.means() == pytest.approx(
        {
            "train/perplexity": math.exp(2.0),
            "imm/kl": 0.2,
            "imm/agreement": 0.4,
            "imm/loss": 2.5,
            "imm/lambda": 0.25,
        }
    )
    assert EpochSums().means() == {}
    assert EpochSums(words=1, loss=701.0).means() == {"train/perplexity": math.inf}


@pytest.mark.parametrize("between", ["batch", "none"])
def test_the_mean_weight_of_an_epoch_is_the_schedule_s(
    case: Callable[..., Case], between: str
) -> None:
    one = case("sampled", "linear:2->0@0.5", every=2, between=between)
    for update in range(4):  # 2, 1, 0 and 0, whether or not there is a term
        one.add(update, progress=update / 4)
    assert one.updates.sums.terms == (2 if between == "batch" else 1)
    assert one.updates.sums.means()["imm/lambda"] == pytest.approx(0.75)
