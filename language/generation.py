"""Text from a language model: `generate(...)` yields one word after the other.

Source of the cut to the likeliest words: Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation",
ACL 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from imm_rl.errors import invalid
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.vocabulary import Vocabulary

CLOSING = frozenset(",.;:?!)")
"""Punctuation that stands at the word before it."""


@torch.no_grad()
def generate(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prompt: Sequence[str],
    words: int,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
) -> Iterator[str]:
    """Draws words that follow a prompt. `<unk>` is never drawn.

    Args:
        model: In evaluation mode, on the CPU.
        vocabulary: Its words.
        prompt: Words to go on from; those it does not know count as `<unk>`. None: the start of a
            sentence.
        words: How many to draw.
        generator: On the CPU.
        temperature: Divides the log-probabilities; near 0 the likeliest word is drawn.
        top_k: Only so many of the likeliest words are drawn from; 0: all of them.

    Yields:
        One word at a time; `<eos>` where a sentence ends.

    Raises:
        InvalidInputError: A number is out of its range.
    """
    if words < 1:
        raise invalid("words", "be a whole number ≥ 1", words)
    if not temperature > 0.0:
        raise invalid("temperature", "be > 0", temperature)
    if top_k < 0:
        raise invalid("top_k", "be a whole number ≥ 0", top_k)
    state = model.start(1)
    ids = torch.from_numpy(vocabulary.encode([*prompt] or [vocabulary.words[vocabulary.end]]))
    for _ in range(words):
        hidden, state = model.encode(ids.unsqueeze(0), state)
        scores = model.log_probs(hidden[0, -1]).double()
        scores[vocabulary.unknown] = -torch.inf
        # Relative to the largest: the likeliest word stays at 0 however small the temperature is.
        scores = (scores - scores.max()) / temperature
        if 0 < top_k < len(scores):
            scores[scores < scores.topk(top_k).values[-1]] = -torch.inf
        ids = torch.multinomial(scores.softmax(0), 1, generator=generator)
        yield vocabulary.words[int(ids)]


def sentences(words: Sequence[str], end: str) -> str:
    """Words as lines of text: a line ends at `end`, punctuation stands at the word before it."""
    lines: list[list[str]] = [[]]
    for word in words:
        line = lines[-1]
        joins = bool(line) and (word in CLOSING or word.startswith("'") or line[-1].endswith("("))
        if word == end:
            lines.append([])
        elif joins:
            line[-1] += word
        else:
            line.append(word)
    return "\n".join(" ".join(line) for line in lines if line)
