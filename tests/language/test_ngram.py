"""Kneser-Ney models: hand values, the paper's formula, a second implementation, bad input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from imm_rl.errors import InvalidInputError
from imm_rl.language.ngram import KneserNey, modified_discounts

Floats = NDArray[np.float64]


def all_contexts(vocab_size: int, length: int) -> NDArray[np.int64]:
    return np.indices((vocab_size,) * length).reshape(length, -1).T


def zipf(seed: int, n_tokens: int, vocab_size: int) -> NDArray[np.int64]:
    share = 1 / np.arange(1, vocab_size + 1)
    return np.random.default_rng(seed).choice(vocab_size, size=n_tokens, p=share / share.sum())


# --- hand values ----------------------------------------------------------------------------------

# a b a c a b: bigrams ab twice, ba, ac, ca once. N1 = 3, N2 = 1, N3 = 0: discounts 1/2, 1, 3/2.
# Distinct bigrams: 4, two end in a, one in b, one in c.
ABACAB = [0, 1, 0, 2, 0, 1]


def test_kneser_ney_of_order_2_equals_hand_values() -> None:
    model = KneserNey(2).fit(ABACAB, vocab_size=3)
    np.testing.assert_allclose(model.unigram, [1 / 2, 1 / 4, 1 / 4], rtol=1e-12)
    # After a: c(a) = 3, γ = (1 + 1/2)/3 = 1/2. P(a) = 1/4, P(b) = 1/3 + 1/8, P(c) = 1/6 + 1/8.
    # After b and after c: c = 1, γ = 1/2. P(a) = 1/2 + 1/4, the others 1/8.
    after_b = [3 / 4, 1 / 8, 1 / 8]
    expected = [[1 / 4, 11 / 24, 7 / 24], after_b, after_b]
    np.testing.assert_allclose(model.probs([0, 1, 2]), expected, rtol=1e-12)
    assert model.discounts == {2: (0.5, 1.0, 1.5)}
    assert model.fallbacks == (2,)


def test_kneser_ney_of_order_3_equals_hand_values() -> None:
    model = KneserNey(3).fit(ABACAB, vocab_size=3)
    # Distinct trigrams: aba, bac, aca, cab. Left neighbours of the bigrams: ba 1, ac 1, ca 1,
    # ab 1 (after c; the ab at the start has none). Discounts are the fallback's, at both orders.
    # Left neighbours of the words: a 2, b 1, c 1, of 4.
    # Bigrams after a: ac and ab, total 2, γ = 1/2: P(a) = 1/4, P(b) = P(c) = 1/4 + 1/8 = 3/8.
    # Trigrams after ba: bac, once, γ = 1/2: P(a) = 1/8, P(b) = 3/16, P(c) = 1/2 + 3/16.
    # cc was never seen, nor bc after any: backs off to c: P(a) = 1/2 + 1/4, the others 1/8.
    expected = [[1 / 8, 3 / 16, 11 / 16], [3 / 4, 1 / 8, 1 / 8]]
    np.testing.assert_allclose(model.probs([[1, 0], [2, 2]]), expected, rtol=1e-12)
    assert model.fallbacks == (2, 3)


def test_kneser_ney_of_order_1_is_relative_frequencies() -> None:
    model = KneserNey(1).fit(ABACAB, vocab_size=3)
    np.testing.assert_allclose(model.unigram, [1 / 2, 1 / 3, 1 / 6], rtol=1e-15)
    assert model.probs(np.zeros((2, 0))).tolist() == [model.unigram.tolist()] * 2
    assert model.discounts == {}


@pytest.mark.parametrize("uniform", [None, True])
def test_kneser_ney_gives_unseen_words_a_share_of_the_uniform(uniform: bool | None) -> None:
    model = KneserNey(2, uniform=uniform).fit(ABACAB, vocab_size=4)
    # Counts 2, 1, 1, 0 of 4 less 1, 1/2, 1/2; the 2 taken go in equal parts to four words.
    np.testing.assert_allclose(model.unigram, [3 / 8, 1 / 4, 1 / 4, 1 / 8], rtol=1e-12)
    assert model.discounts == {1: (0.5, 1.0, 1.5), 2: (0.5, 1.0, 1.5)}
    assert model.fallbacks == (1, 2)


def test_kneser_ney_leaves_the_uniform_out_when_told_to() -> None:
    plain = KneserNey(2, uniform=False).fit(ABACAB, vocab_size=4)
    np.testing.assert_allclose(plain.unigram, [1 / 2, 1 / 4, 1 / 4, 0], rtol=1e-12)
    smooth = KneserNey(2, uniform=True).fit(ABACAB, vocab_size=3)
    np.testing.assert_allclose(smooth.unigram, [5 / 12, 7 / 24, 7 / 24], rtol=1e-12)


# --- discounts ------------------------------------------------------------------------------------


def test_modified_discounts_equals_hand_values() -> None:
    counts = np.repeat([0, 1, 2, 3, 4, 5], [3, 8, 4, 2, 1, 6])
    # Y = 8/16 = 1/2; D1 = 1 − 4/8, D2 = 2 − 3/2 · 2/4, D3 = 3 − 2 · 1/2.
    assert modified_discounts(counts) == (0.5, 1.25, 2.0)


@pytest.mark.parametrize(
    "numbers",
    [(0, 4, 2, 1), (8, 0, 2, 1), (8, 4, 0, 1), (8, 1, 4, 1), (8, 4, 1, 9)],
    ids=["no ones", "no twos", "no threes", "D2 = 2 - 9.6 below 0", "D3 = 3 - 18 below 0"],
)
def test_modified_discounts_are_none_when_undefined_or_out_of_range(
    numbers: tuple[int, ...],
) -> None:
    assert modified_discounts(np.repeat([1, 2, 3, 4], numbers)) is None


# --- the paper's formula and a second implementation ----------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_kneser_ney_of_order_2_equals_the_papers_formula(seed: int) -> None:
    tokens = zipf(seed, 4000, 60)
    counts = sparse.csr_matrix((np.ones(3999), (tokens[:-1], tokens[1:])), shape=(60, 60))
    counts.sum_duplicates()
    c = counts.toarray()
    n1, n2, n3, n4 = ((c == k).sum() for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    discount = np.select([c == 0, c == 1, c == 2], [0, d1, d2], d3)
    c_v = c.sum(1, keepdims=True)
    p_cont = (c > 0).sum(0) / (c > 0).sum()
    expected = (c - discount) / c_v + discount.sum(1, keepdims=True) / c_v * p_cont

    model = KneserNey(2).fit(tokens, vocab_size=60)
    np.testing.assert_allclose(model.discounts[2], (d1, d2, d3), rtol=1e-12)
    assert model.fallbacks == ()
    np.testing.assert_allclose(model.probs(np.arange(60)), expected, rtol=1e-12, atol=1e-15)


class SlowKneserNey:
    """The definition, word for word, with dictionaries."""

    def __init__(self, tokens: list[int], vocab_size: int, order: int, uniform: bool | None):
        starts = [tokens[i:] for i in range(order)]
        grams = {m: Counter(zip(*starts[:m], strict=False)) for m in range(1, order + 1)}
        self.counts = {
            m: grams[m] if m == order else Counter(gram[1:] for gram in grams[m + 1])
            for m in range(1, order + 1)
        }
        self.v = vocab_size
        unseen = any(self.counts[1][(w,)] == 0 for w in range(vocab_size))
        self.uniform = unseen if uniform is None else uniform

    def discount(self, m: int, count: int) -> float:
        if count == 0:
            return 0.0
        n = Counter(self.counts[m].values())
        found = [0.5, 1.0, 1.5]
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            own = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
            if all(0 <= d <= k for k, d in enumerate(own, 1)):
                found = own
        return found[min(count, 3) - 1]

    def prob(self, context: tuple[int, ...], word: int) -> float:
        m = len(context) + 1
        mine = {w: self.counts[m][(*context, w)] for w in range(self.v)}
        total = sum(mine.values())
        if m == 1 and not self.uniform:
            return mine[word] / total
        lower = self.prob(context[1:], word) if m > 1 else 1 / self.v
        if total == 0:
            return lower
        taken = {w: self.discount(m, c) for w, c in mine.items()}
        return (mine[word] - taken[word]) / total + sum(taken.values()) / total * lower


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 2), min_size=4, max_size=60),
    order=st.integers(1, 4),
    uniform=st.sampled_from([None, True, False]),
)
def test_kneser_ney_equals_a_second_implementation(
    tokens: list[int], order: int, uniform: bool | None
) -> None:
    model = KneserNey(order, uniform=uniform).fit(tokens, vocab_size=4)
    slow = SlowKneserNey(tokens, 4, order, uniform)
    contexts = all_contexts(4, order - 1) if order > 1 else np.zeros((1, 0), np.int64)
    rows = model.probs(contexts)
    expected = [[slow.prob(tuple(c), w) for w in range(4)] for c in contexts.tolist()]
    np.testing.assert_allclose(rows, expected, rtol=1e-12, atol=1e-15)


def test_kneser_ney_equals_a_second_implementation_without_fallbacks() -> None:
    tokens = zipf(3, 400, 6)
    model = KneserNey(3, uniform=False).fit(tokens, vocab_size=6)
    assert 3 not in model.fallbacks
    slow = SlowKneserNey(tokens.tolist(), 6, 3, False)
    for context in ([0, 0], [0, 1], [3, 2], [5, 5]):
        expected = [slow.prob(tuple(context), w) for w in range(6)]
        np.testing.assert_allclose(model.probs([context])[0], expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("n_tokens", [5, 2000])
def test_kneser_ney_rows_sum_to_1_after_any_context(order: int, n_tokens: int) -> None:
    model = KneserNey(order).fit(zipf(4, n_tokens, 40), vocab_size=50)
    contexts = np.random.default_rng(5).integers(50, size=(200, order - 1))
    rows = model.probs(contexts)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=0, atol=1e-9)
    assert (rows > 0).all()


def test_kneser_ney_takes_vocabularies_whose_ngrams_exceed_int64() -> None:
    tokens = zipf(6, 500, 30) * 10_000_000 % 299_999  # ids up to 3e5: V ** 5 > 2 ** 63
    model = KneserNey(5, uniform=False).fit(tokens, vocab_size=300_000)
    _, small = np.unique(tokens, return_inverse=True)
    dense = KneserNey(5, uniform=False).fit(small, vocab_size=int(small.max()) + 1)
    np.testing.assert_allclose(model.log_prob(tokens), dense.log_prob(small), rtol=1e-12)


def test_kneser_ney_fit_forgets_an_earlier_fit() -> None:
    model = KneserNey(2).fit(zipf(7, 3000, 40), vocab_size=40)
    assert model.fit(ABACAB, vocab_size=3) is model
    assert (model.vocab_size, model.fallbacks) == (3, (2,))
    assert model.probs([0]).shape == (1, 3)


def test_kneser_ney_maps_ids_outside_the_vocabulary_to_unknown() -> None:
    model = KneserNey(2, unknown=1).fit([0, 7, 0, 2, 0, -1], vocab_size=3)
    expected = KneserNey(2).fit(ABACAB, vocab_size=3)
    assert model.probs([0, 9]).tolist() == expected.probs([0, 1]).tolist()
    assert model.unknown == 1


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: KneserNey(0), "order must be an integer, at least 1; received 0"),
    (lambda: KneserNey(2.0), "order must be an integer, at least 1; received 2.0"),
    (lambda: KneserNey(True), "order must be an integer, at least 1; received True"),
    (lambda: KneserNey(unknown=-1), "unknown must be an integer, at least 0; received -1"),
    (lambda: KneserNey(uniform="yes"), "uniform must be True, False or None; received 'yes'"),
    (lambda: KneserNey(unknown=3).fit([0, 1], vocab_size=3), r"unknown must be an id in 0\.\.2"),
    (lambda: KneserNey().fit([0, 1], vocab_size=0), "vocab_size must be an integer, at least 1"),
    (lambda: KneserNey(3).fit([0, 1], vocab_size=3), r"shape \(T,\), T at least 3; .*\(2,\)"),
    (lambda: KneserNey().fit([[0, 1]], vocab_size=3), r"tokens must have .*received \(1, 2\)"),
    (lambda: KneserNey().fit([0.0, 1.0], vocab_size=3), "integers; .*float64.*ids of words"),
    (lambda: KneserNey().fit(["a", "b"], vocab_size=3), "integers; received 'dtype <U1'"),
    (lambda: KneserNey().fit([[0], [1, 2]], vocab_size=3), "an array of integers; .*'list'"),
    (lambda: KneserNey().fit([0, 3, 4], vocab_size=3), r"lie in 0\.\.2; received '3 at 1'.*unkn"),
    (lambda: KneserNey().fit([0, 1, -1], vocab_size=3), r"lie in 0\.\.2; received '-1 at 2'"),
    (lambda: KneserNey().probs([0]), r"no probabilities yet. Call fit\(tokens, vocab_size"),
    (lambda: KneserNey().log_prob([0, 1]), "KneserNey has no probabilities yet"),
    (lambda: KneserNey().unigram, "no probabilities yet"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_kneser_ney_refuses_bad_input(call: Callable[[], ArrayLike], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()
