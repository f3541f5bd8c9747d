"""The marks of KenLM and SRILM, `<s>` and `</s>`, and the word `<eos>` that stands for both here.

Their models are of single sentences: `<s>` is the context before the first word and is never predicted,
`</s>` is predicted after the last word and nothing follows it. Here a text is one stream, in which the end
of a line is a word, `<eos>`, and the line before is what stands before a line. Read so,

    P(<eos> | ...) = P(</s> | ...)          and          P(word | <eos> ...) = P(word | <s> ...)

keep every probability that the file gives to the words of a sentence and to its end, at any order, whatever
lines stand before: contexts that reach back beyond `<eos>` end in n-grams with `</s>`, which get the weight
1 and no n-grams that go on from them, so that they back off to the context from `<s>` on.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imm_rl.language.arpa_lines import ZERO, Section
from imm_rl.language.vocabulary import END

BEGIN, CLOSE = MARKS = ("<s>", "</s>")
"""Begin and end of a sentence. KenLM refuses files without them."""

Ints = NDArray[np.int64]


def in_use(words: Sequence[str], sections: Sequence[Section]) -> set[str]:
    """Those marks that are predicted, or are in a longer n-gram.

    `<s>` is not predicted by a probability of 1, which KenLM's files give it, nor of 0, as SRILM's do.

    Args:
        words: By id.
        sections: One a length, 1 first.
    """
    found = set()
    for mark in MARKS:
        if mark in words:
            at = words.index(mark)
            log = sections[0].logs[at]
            predicted = log > ZERO and not (mark == BEGIN and log == 0)
            if predicted or any(at in section.ids for section in sections[1:]):
                found.add(mark)
    return found


def as_end_of_line(
    words: Sequence[str], sections: Sequence[Section]
) -> tuple[list[str], list[Section]]:
    """The same n-grams with `<eos>` for both marks, at the place of the one that is listed first.

    N-grams with `<s>` after their start or `</s>` before their end are left out: no sentence has them.

    Args:
        words: By id, with a mark and without `<eos>`.
        sections: One a length, 1 first.

    Returns:
        Words and sections. The unigram `<eos>` has the probability of `</s>` and the weight of `<s>`.
    """
    ids = {word: i for i, word in enumerate(words)}
    begin, close = (ids.get(mark, -1) for mark in MARKS)
    end = min(i for i in (begin, close) if i >= 0)
    gone = max(begin, close) if min(begin, close) >= 0 else len(words)
    names = [END if i == end else word for i, word in enumerate(words) if i != gone]
    target = np.arange(len(words), dtype=np.int64)
    target[gone:] -= 1
    target[[i for i in (begin, close) if i >= 0]] = end

    first = sections[0]
    logs, backoffs, lines = array("d"), array("d"), array("q")
    for i in range(len(words)):
        if i != gone:
            mine, other = (close, begin) if i == end else (i, i)
            logs.append(first.logs[mine] if mine >= 0 else ZERO)
            backoffs.append(first.backoffs[other] if other >= 0 else 0.0)
            lines.append(first.lines[i])
    singles = Section(1, array("q", range(len(names))), logs, backoffs, lines)
    return names, [singles, *(_joined(s, target, begin, close) for s in sections[1:])]


def _joined(section: Section, target: Ints, begin: int, close: int) -> Section:
    """A section of length 2 or more, with `<eos>` for the marks."""
    ngrams = section.ngrams()
    kept = ~(ngrams[:, 1:] == begin).any(1) & ~(ngrams[:, :-1] == close).any(1)
    ngrams = ngrams[kept]
    backoffs = np.where(ngrams[:, -1] == close, 0.0, np.array(section.backoffs)[kept])
    return Section(
        section.length,
        array("q", target[ngrams].ravel().tolist()),
        array("d", np.array(section.logs)[kept].tolist()),
        array("d", backoffs.tolist()),
        array("q", np.array(section.lines)[kept].tolist()),
    )
