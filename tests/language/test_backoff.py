"""Models in backoff form: probabilities by hand, scoring of tokens, lookup, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imm_rl.errors import InvalidInputError
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.level import Level
from imm_rl.language.ngram import KneserNey


def level(**changes: Any) -> Level:
    """Two contexts of one word: after 0 the word 1 and 2 are listed, after 2 the word 0."""
    arrays: dict[str, NDArray[Any]] = {
        "contexts": np.array([[0], [2]]),
        "backoff": np.array([0.5, 0.25]),
        "indptr": np.array([0, 2, 3]),
        "words": np.array([1, 2, 0]),
        "probs": np.array([0.5, 0.25, 0.875]),
    }
    return Level(**{**arrays, **{name: np.asarray(value) for name, value in changes.items()}})


def triples() -> Level:
    """After 1 0 the word 2; the context 2 2 has a weight and lists nothing."""
    return Level(
        np.array([[1, 0], [2, 2]]),
        np.array([0.75, 2.0]),
        np.array([0, 1, 1]),
        np.array([2]),
        np.array([0.4375]),
    )


UNIGRAM = [0.5, 0.25, 0.25]


def by_hand() -> BackoffModel:
    return BackoffModel(UNIGRAM, [level(), triples()])


def fitted(order: int) -> tuple[KneserNey, NDArray[np.int64]]:
    share = 1 / np.arange(1, 21)
    tokens = np.random.default_rng(order).choice(20, size=600, p=share / share.sum())
    return KneserNey(order, unknown=3).fit(tokens[:400], vocab_size=20), tokens[300:]


# --- probs ----------------------------------------------------------------------------------------


def test_probs_equals_hand_values_at_order_2() -> None:
    model = BackoffModel(UNIGRAM, [level()])
    # After 0: half of 1/2, then as listed. After 1, not listed: the unigram. After 2: 1/4 of it.
    expected = [[0.25, 0.5, 0.25], UNIGRAM, [0.875, 0.0625, 0.0625]]
    assert model.probs([0, 1, 2]).tolist() == expected
    assert model.probs([[0], [1], [2]]).tolist() == expected


def test_probs_equals_hand_values_at_order_3() -> None:
    # 1 0: 3/4 of [1/4, 1/2, 1/4] with 2 as listed; 0 0 is not listed: as after 0; 2 2: twice.
    expected = [[0.1875, 0.375, 0.4375], [0.25, 0.5, 0.25], [1.75, 0.125, 0.125]]
    assert by_hand().probs([[1, 0], [0, 0], [2, 2]]).tolist() == expected


def test_probs_of_no_contexts_is_empty() -> None:
    assert by_hand().probs(np.zeros((0, 2), np.int64)).shape == (0, 3)


def test_probs_of_a_model_without_levels_repeats_the_unigram() -> None:
    assert BackoffModel(UNIGRAM).probs(np.zeros((2, 0))).tolist() == [UNIGRAM, UNIGRAM]


def test_probs_does_not_change_the_model() -> None:
    model = BackoffModel(UNIGRAM, [level()])
    first = model.probs([0, 0, 2])
    first[:] = 7
    model.prob([0, 1], [0, 0])
    assert model.probs([0]).tolist() == [[0.25, 0.5, 0.25]]
    assert model.unigram.tolist() == UNIGRAM


# --- scoring --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_log_prob_equals_the_logarithm_of_the_rows(order: int) -> None:
    model, tokens = fitted(order)
    contexts = np.array([tokens[i : i + order - 1] for i in range(len(tokens) - order + 1)])
    rows = model.probs(contexts.reshape(len(contexts), order - 1))
    expected = np.log(rows[np.arange(len(rows)), tokens[order - 1 :]])
    np.testing.assert_allclose(model.log_prob(tokens), expected, rtol=1e-12)
    np.testing.assert_allclose(model.perplexity(tokens), np.exp(-expected.mean()), rtol=1e-12)


def test_log_prob_equals_hand_values_without_the_first_tokens() -> None:
    # 0 follows 2 2, 1 follows 2 0 (not listed: as after 0).
    np.testing.assert_allclose(by_hand().log_prob([2, 2, 0, 1]), np.log([1.75, 0.5]), rtol=1e-15)


def test_log_prob_is_minus_infinity_when_the_model_rules_a_token_out() -> None:
    model = BackoffModel([0.0, 1.0])
    assert model.log_prob([1, 0]).tolist() == [0.0, -np.inf]
    assert model.perplexity([1, 0]) == np.inf


def test_prob_gives_one_word_after_each_context() -> None:
    assert by_hand().prob([[1, 0], [1, 0], [2, 2]], [2, 1, 0]).tolist() == [0.4375, 0.375, 1.75]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unknown_stands_for_ids_outside_the_vocabulary(order: int) -> None:
    model, tokens = fitted(order)
    strange = np.where(tokens == 3, [-5, 20, 2**40][order - 1], tokens)
    assert model.log_prob(strange).tolist() == model.log_prob(tokens).tolist()
    if order == 2:
        assert model.probs([99]).tolist() == model.probs([3]).tolist()


def test_tokens_of_any_integer_type_are_taken() -> None:
    model, tokens = fitted(2)
    for kind in (np.uint8, np.int32, np.uint64):
        assert model.log_prob(tokens.astype(kind)).tolist() == model.log_prob(tokens).tolist()
    assert model.log_prob(tokens.tolist()).tolist() == model.log_prob(tokens).tolist()


# --- lookup ---------------------------------------------------------------------------------------


def test_find_gives_the_row_or_minus_1() -> None:
    contexts = np.array([[2, 2], [1, 0], [1, 2], [0, 0], [3, 9], [1, 10**12], [-1, 2]])
    assert triples().find(contexts).tolist() == [1, 0, -1, -1, -1, -1, -1]


def test_find_equals_a_dictionary_on_random_contexts() -> None:
    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers(2**20, size=(500, 4)) * rng.integers(2, size=(500, 4)), axis=0)
    none = np.zeros(0)
    table = Level.from_ngrams(np.zeros((0, 5), np.int64), none, rows, np.ones(len(rows)))
    asked = np.concatenate([rows[::3], rng.integers(2**20, size=(50, 4)) * rng.integers(2, size=4)])
    places = {tuple(row): i for i, row in enumerate(table.contexts.tolist())}
    assert table.find(asked).tolist() == [places.get(tuple(row), -1) for row in asked.tolist()]


def test_from_ngrams_sorts_and_joins_ngrams_and_contexts() -> None:
    ngrams = np.array([[2, 0, 1], [0, 1, 2], [2, 0, 0]])
    contexts = np.array([[2, 2], [0, 1]])
    table = Level.from_ngrams(ngrams, np.array([0.1, 0.2, 0.3]), contexts, np.array([0.4, 0.5]))
    assert table.contexts.tolist() == [[0, 1], [2, 0], [2, 2]]
    assert table.backoff.tolist() == [0.5, 1.0, 0.4]
    assert table.indptr.tolist() == [0, 1, 3, 3]
    assert table.words.tolist() == [2, 0, 1]
    assert table.probs.tolist() == [0.2, 0.3, 0.1]


# --- bad input ------------------------------------------------------------------------------------

TWICE = np.array([[0], [0]])
BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: BackoffModel([[0.5]]), r"unigram must be probabilities of shape \(V,\)"),
    (lambda: BackoffModel([]), "V at least 1"),
    (lambda: BackoffModel([0.5, np.nan]), "unigram must be probabilities"),
    (lambda: BackoffModel(UNIGRAM, [triples()]), r"levels must have the orders 2, 3.*\[3\]"),
    (lambda: BackoffModel(UNIGRAM, unknown=3), r"unknown must be an id in 0\.\.2, or None; .*3"),
    (lambda: by_hand().probs([0, 1]), r"contexts .*\(N, order - 1\) = \(N, 2\).*last 2 words"),
    (lambda: by_hand().probs([[0, 1, 2]]), r"\(N, 2\); received \(1, 3\)"),
    (
        lambda: by_hand().probs([[0, 1], [2, 3]]),
        r"contexts .* 0\.\.2; .*'3 at \(1, 1\)'.*unknown=ID",
    ),
    (lambda: by_hand().probs([[0.0, 1.0]]), "contexts must be integers; received 'dtype float64'"),
    (lambda: by_hand().probs([[True, False]]), "contexts must be integers; .*bool"),
    (lambda: by_hand().prob([[0, 1]], [0, 1]), r"words must .*\(N,\) = \(1,\); received \(2,\)"),
    (lambda: by_hand().prob([[0, 1]], [3]), "words must .*'3 at 0'"),
    (lambda: by_hand().log_prob([0, 1]), r"tokens .* T at least 3; .*\(2,\)"),
    (lambda: by_hand().log_prob([0, 1, -2]), r"tokens must lie in 0\.\.2; received '-2 at 2'"),
    (lambda: by_hand().perplexity([[0, 1, 2]]), r"tokens must .*\(1, 3\)"),
    (lambda: level(contexts=[0, 2]), r"contexts must have the shape \(C, m - 1\)"),
    (lambda: level(backoff=[0.5]), r"backoff, indptr, words and probs must .*\(2,\), \(3,\)"),
    (lambda: level(indptr=[0, 4, 3]), "indptr must ascend from 0 to 3"),
    (lambda: level(contexts=TWICE), "contexts must be distinct and in lexicographic order"),
    (lambda: level(contexts=[[2], [0]]), "contexts must be distinct and in lexicographic order"),
    (lambda: level(contexts=[[-1], [0]]), "ids, at least 0; received -1"),
    (lambda: level(words=[2, 1, 0]), "words must ascend within each context"),
    (
        lambda: Level.from_ngrams(np.zeros((0, 2), np.int64), np.zeros(0), TWICE, np.ones(2)),
        "contexts must be distinct; received one twice",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_backoff_refuses_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()
