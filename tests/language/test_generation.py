from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from imm_rl.errors import InvalidInputError
from imm_rl.language.generation import generate, sentences
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<eos>", "a", "b", "c", "d", "e", "f", "<unk>"))


@pytest.fixture
def model(tiny_settings: Callable[..., LMSettings]) -> LanguageModel:
    model = build(tiny_settings(init_range=1.5), 8, 1).eval()
    with torch.no_grad():
        model.output.bias[7] = 2.0  # <unk> would often be the likeliest word
    return model


def drawn(
    model: LanguageModel,
    words: int = 40,
    seed: int = 0,
    prompt: tuple[str, ...] = (),
    **options: Any,
) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    return list(generate(model, VOCABULARY, prompt, words, generator, **options))


def greedy(model: LanguageModel, words: int, prompt: tuple[str, ...] = ("<eos>",)) -> list[str]:
    """The likeliest known word after all words so far, from an empty state."""
    text = list(prompt)
    for _ in range(words):
        log_probs = model.after(torch.from_numpy(VOCABULARY.encode(text)))
        text.append(VOCABULARY.words[int(log_probs[:7].argmax())])
    return text[len(prompt) :]


def test_words_repeat_with_their_seed_and_change_with_it(model: LanguageModel) -> None:
    assert drawn(model, seed=1) == drawn(model, seed=1)
    assert drawn(model, seed=1) != drawn(model, seed=2)
    assert len(drawn(model, 7)) == 7


def test_words_are_known_ones(model: LanguageModel) -> None:
    found = set(drawn(model, 400))
    assert found == set(VOCABULARY.words) - {"<unk>"}
    assert "<unk>" not in drawn(model, 50, prompt=("zebra", "<unk>"))


def test_words_are_drawn_as_often_as_the_model_says(model: LanguageModel) -> None:
    log_probs = model.after(torch.tensor([1, 2]))
    for temperature in (1.0, 2.0):
        generator = torch.Generator().manual_seed(5)
        found = [
            next(generate(model, VOCABULARY, ["a", "b"], 1, generator, temperature=temperature))
            for _ in range(1500)
        ]
        expected = (log_probs[:7].double() / temperature).softmax(0) * len(found)
        counts = [found.count(word) for word in VOCABULARY.words[:7]]
        assert chisquare(counts, expected.detach()).pvalue > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1},
        {"temperature": 1e-3},
        {"temperature": 1e-30},
        {"temperature": 1e-300},
        {"temperature": 5.0, "top_k": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("prompt", [(), ("c", "d")])
def test_words_are_the_likeliest_ones_where_nothing_is_left_to_chance(
    model: LanguageModel, options: dict[str, Any], prompt: tuple[str, ...]
) -> None:
    expected = greedy(model, 12, prompt or ("<eos>",))
    for seed in (0, 1):
        assert drawn(model, 12, seed, prompt, **options) == expected


def test_top_k_draws_from_so_many_words(model: LanguageModel) -> None:
    log_probs = model.after(torch.tensor([1, 2]))[:7]
    likeliest = {VOCABULARY.words[int(i)] for i in log_probs.topk(3).indices}
    generator = torch.Generator().manual_seed(5)
    found = {
        next(generate(model, VOCABULARY, ["a", "b"], 1, generator, temperature=3.0, top_k=3))
        for _ in range(100)
    }
    assert found == likeliest
    assert drawn(model, top_k=100) == drawn(model, top_k=0)


def test_words_come_one_at_a_time(model: LanguageModel) -> None:
    generator = torch.Generator().manual_seed(0)
    endless = generate(model, VOCABULARY, (), 10**9, generator)
    assert list(islice(endless, 5)) == drawn(model, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": 0}, "words must be a whole number ≥ 1; received 0"),
        ({"temperature": 0.0}, "temperature must be > 0; received 0.0"),
        ({"temperature": float("nan")}, "temperature must be > 0; received nan"),
        ({"top_k": -1}, "top_k must be a whole number ≥ 0; received -1"),
    ],
)
def test_generate_refuses_bad_numbers(
    model: LanguageModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        drawn(model, **options)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("it 's here ( see N ) , or not : yes !", "it's here (see N), or not: yes!"),
        ("a <eos> <eos> b . <eos> c", "a\nb.\nc"),
        ("", ""),
        ("<eos>", ""),
        (", a ( (", ", a (("),
    ],
)
def test_sentences_equal_hand_values(words: str, text: str) -> None:
    assert sentences(words.split(), "<eos>") == text
