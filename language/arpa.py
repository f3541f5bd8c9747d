r"""N-gram models as ARPA files, the text format of KenLM and SRILM.

Files whose name ends in .gz are compressed. The log10 number −99 stands for probability zero. How sentences
begin and end there and here: `sentence_marks`.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically
from imm_rl.language import arpa_lines
from imm_rl.language.arpa_lines import ZERO, Section
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.level import Level
from imm_rl.language.sentence_marks import MARKS, as_end_of_line, in_use
from imm_rl.language.vocabulary import END
from imm_rl.language.vocabulary_map import onto_vocabulary, with_rest

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def write_arpa(
    model: BackoffModel, path: str | Path, words: Iterable[str], *, sentences: bool = False
) -> None:
    """Writes a model as an ARPA file, whole or not at all, with 12 significant digits.

    Sentence marks that are not among the words are added with probability 0, as KenLM wants them;
    `read_arpa` leaves such marks out again. The end of a line stays the word `<eos>`, unless a model
    of sentences is asked for. Contexts that the model does not list as n-grams of their own are added
    with the probability they have.

    Args:
        model: Fitted, over V words.
        path: Where to; compressed where it ends in .gz.
        words: V distinct words without white space, by id; a `Vocabulary` does too.
        sentences: Writes `<eos>` as `</s>` where it ends an n-gram and as `<s>` where it begins one, for
            tools that score sentences. N-grams that go on over the end of a line are left out: at order
            2 there are none, and at a higher order the first words of a line are those after `<s>`,
            whatever stood before it.

    Raises:
        InvalidInputError: The words are wrong (for sentences `<eos>` must be among them and the marks
            must not), the model is not fitted, or the path cannot be
            written to.
        RunFailedError: The disk failed or is full.
    """
    path = Path(path)
    names = _checked_words(words)
    if len(names) != model.vocab_size:
        raise invalid("words", f"be the {model.vocab_size} words of the model", len(names))
    if sentences and (END not in names or any(mark in names for mark in MARKS)):
        raise invalid("words", f"have {END!r}, and not {MARKS[0]!r} or {MARKS[1]!r}", names[:5])
    end = names.index(END) if sentences else -1

    def write(file: IO[bytes]) -> None:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.writelines(_lines(model, names, end))
        else:
            file.writelines(_lines(model, names, end))

    write_atomically(path, write)


def read_arpa(
    path: str | Path, words: Iterable[str] | None = None, unknown: str = "<unk>"
) -> tuple[BackoffModel, list[str]]:
    """Reads a model from an ARPA file.

    `</s>` and `<s>`, the end and the begin of a sentence, become the word `<eos>`, the end of a
    line: predicted as `</s>` was, and as a context what `<s>` was. So a line has the probability
    that KenLM and SRILM give to the sentence, whatever stands before it (`sentence_marks`). The
    marks stay words where the file has `<eos>` itself, or `words` has one of them; the probability
    of `<s>` then counts as 0 where the file gives it as 1 (KenLM). Marks that the model neither
    predicts nor has in a longer n-gram are left out.

    The unknown word is found in whatever case, such as `<UNK>`, unless the file has it in this one
    too. Contexts without a weight have weight 1. Where the probabilities of the single words leave
    something to a sum of 1, the unknown word gets it if there is one.

    Args:
        path: The file; compressed where it ends in .gz.
        words: The vocabulary to read the model for; by default the file's words in its order.
            Words that the file lacks get probability 0; words of the file that are not in it count
            as the unknown word, except marks and `<eos>` where they are never predicted.
        unknown: The name of the unknown word.

    Returns:
        The model, whose `unknown` is the id of that word where it is among the words; and the
        words, by id.

    Raises:
        InvalidInputError: There is no such file; a line is wrong (the message names it); the
            probabilities of single words add up to more than 1.001; or a word of the file is not
            in `words`, nor is the unknown word.
    """
    path = Path(path)
    given = None if words is None else _checked_words(words)
    own, sections = arpa_lines.read(path)
    own = _with_unknown(own, unknown, given or ())
    used = in_use(own, sections)
    if used and END not in own and not (given and any(mark in given for mark in MARKS)):
        own, sections = as_end_of_line(own, sections)
    model = _model(path, own, sections, unknown)
    names = [word for word in own if word not in MARKS or word in used] if given is None else given
    if names == own:
        return model, names
    ids = {word: i for i, word in enumerate(names)}
    target = np.array([ids.get(word, -1) for word in own], dtype=np.int64)
    if unknown not in ids:
        predicted = model.unigram > 0
        for level in model.levels:
            predicted[level.words] = True
        for i in np.flatnonzero(target < 0).tolist():
            if own[i] not in (*MARKS, END) or predicted[i]:
                raise InvalidInputError(
                    f"{path}, line {sections[0].lines[i]}: the word {own[i]!r} must be in the "
                    f"vocabulary. Add it, or {unknown!r}, to words."
                )
    return onto_vocabulary(model, target, len(names), ids.get(unknown)), names


def _with_unknown(words: list[str], unknown: str, given: Sequence[str]) -> list[str]:
    """The words with the unknown one in the case that is asked for, but for words that are given."""
    alike = [i for i, word in enumerate(words) if word.lower() == unknown.lower()]
    if unknown in words or not alike or words[alike[0]] in given:
        return words
    return [unknown if i == alike[0] else word for i, word in enumerate(words)]


def _model(path: Path, own: list[str], sections: list[Section], unknown: str) -> BackoffModel:
    """The model over the file's own words."""
    unigram = _powers(sections[0].logs)
    if MARKS[0] in own and unigram[own.index(MARKS[0])] == 1:
        unigram[own.index(MARKS[0])] = 0
    if unigram.sum() > 1.001:
        raise InvalidInputError(
            f"{path}: the probabilities of the 1-grams must add up to 1; received "
            f"{unigram.sum():.6g}. Write the file again from the model it came from."
        )
    at = own.index(unknown) if unknown in own else None
    if at is not None:
        unigram = with_rest(unigram, at)
    levels = []
    for shorter, longer in itertools.pairwise(sections):
        weights = _powers(shorter.backoffs)
        weighted = weights != 1
        contexts = shorter.ngrams()[weighted]
        levels.append(
            Level.from_ngrams(longer.ngrams(), _powers(longer.logs), contexts, weights[weighted])
        )
    return BackoffModel(unigram, levels, unknown=at)


def _powers(logs: Sequence[float]) -> Floats:
    """(K,), 10 to the logs; 0 for those up to −99."""
    values = np.array(logs, dtype=np.float64)
    result: Floats = np.where(values > ZERO, 10.0**values, 0.0)
    return result


def _lines(model: BackoffModel, words: list[str], end: int) -> Iterator[bytes]:
    """The file; `end` is the id of the word that is written as the marks, or −1."""
    sections = _listed(model)
    if end >= 0:
        within = [~(ngrams[:, 1:-1] == end).any(1) for ngrams, _ in sections]
        sections = [(n[rows], p[rows]) for (n, p), rows in zip(sections, within, strict=True)]
    marks = [(mark, ZERO, "") for mark in MARKS if mark not in words]
    yield b"\\data\\\n"
    for length, (ngrams, _) in enumerate(sections, start=1):
        count = len(ngrams) + (len(marks) - (end >= 0) if length == 1 else 0)
        yield f"ngram {length}={count}\n".encode()
    first, last = list(words), list(words)
    if end >= 0:
        first[end], last[end] = MARKS
    for length, (ngrams, probs) in enumerate(sections, start=1):
        yield f"\n\\{length}-grams:\n".encode()
        weights = [""] * len(ngrams)
        if length < model.order:
            level = model.levels[length - 1]
            weights = [f"\t{log:.12g}" for log in _logs(level.weights(level.find(ngrams)))]
        logs = np.minimum(_logs(probs), 0.0).tolist()
        if end >= 0 and length == 1:
            marks = [(MARKS[0], ZERO, weights[end]), (MARKS[1], logs[end], "")]
        names = [first, *[words] * (length - 2), last][-length:]
        ids = ngrams.T.tolist()
        columns = [[by[i] for i in column] for by, column in zip(names, ids, strict=True)]
        for log, weight, final, *text in zip(logs, weights, ids[-1], *columns, strict=True):
            if final != end:
                yield f"{log:.12g}\t{' '.join(text)}{weight}\n".encode()
            elif length > 1:  # nothing follows the end of a sentence
                yield f"{log:.12g}\t{' '.join(text)}\n".encode()
        if length == 1:
            yield from (f"{log:.12g}\t{mark}{weight}\n".encode() for mark, log, weight in marks)
    yield b"\n\\end\\\n"


def _listed(model: BackoffModel) -> list[tuple[Ints, Floats]]:
    """(K, m) n-grams and their (K,) probabilities, for each length m, shortest first.

    A weight stands beside the n-gram that is its context, so every context must be listed too; the
    start of a text may hold contexts that nothing precedes and that Kneser-Ney gives no count.
    """
    sections: list[tuple[Ints, Floats]] = []
    wanted = np.zeros((0, model.order), dtype=np.int64)  # to be listed at this length
    for at in range(len(model.levels) - 1, -1, -1):
        level = model.levels[at]
        rows = np.repeat(np.arange(len(level.contexts)), np.diff(level.indptr))
        listed = np.column_stack([level.contexts[rows], level.words])
        missing = wanted[level.find_words(level.find(wanted[:, :-1]), wanted[:, -1]) < 0]
        partial = BackoffModel(model.unigram, model.levels[: at + 1])
        probs = partial.prob(missing[:, :-1], missing[:, -1])
        sections.append((np.concatenate([listed, missing]), np.concatenate([level.probs, probs])))
        wanted = np.unique(np.concatenate([level.contexts, missing[:, :-1]]), axis=0)
    sections.append((np.arange(model.vocab_size)[:, None], model.unigram))
    return sections[::-1]


def _logs(values: Floats) -> Floats:
    """(K,), log10 of the values; −99 for 0 and whatever is smaller than 10 ** −99."""
    with np.errstate(divide="ignore"):
        logs: Floats = np.maximum(np.log10(values), ZERO) + 0.0  # not -0
    return logs


def _checked_words(words: Iterable[str]) -> list[str]:
    names = [words] if isinstance(words, str) else list(words)
    for at, word in enumerate(names):
        if not _is_one_word(word):
            raise invalid("words", "be text without white space", f"{word!r} at {at}")
    if len(set(names)) < len(names):
        again = next(word for at, word in enumerate(names) if word in names[:at])
        raise invalid("words", "be distinct", again, "It comes twice")
    return names


def _is_one_word(word: object) -> bool:
    if not isinstance(word, str):
        return False
    try:
        text = word.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return text.split() == [text]
