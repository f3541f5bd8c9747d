"""The corpus that every Python brings along: the prose of its own language reference, `help(...)`'s topics.

Nothing is downloaded. The text is that of the Python that runs: another version has another text and
another fingerprint.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from imm_rl.errors import RunFailedError
from imm_rl.language.tokens import sentences, words

Line = list[str]

CODE = "<code>"
"""Stands for a quoted piece of code that is more than a name."""

MIN_COUNT = 2
"""Words that occur but once in the training part are left out: two in five, many of them names in code."""
_SALT = b"imm-rl pydoc corpus 1"
"""Sets the pseudo-random order of the paragraphs."""

_SHORTEST = 3
"""Sentences of fewer words are what is left of headings ("Syntax:")."""
_UNIQUE = 8
"""Sentences of fewer words may come again, as they do in any text ("New in version N .")."""

_UNDERLINE = re.compile(r"^([*=\-~^\"'+#])\1{2,}$")
_BULLET = re.compile(r"^(?:\*|-|\[\d+\]|\d+\.|\(\d+\))\s+")
_NOT_PROSE = re.compile(r"::=|>>>|^\s*(?:\||\+[-=])|^\s*#|\\$|^\.\.\. ", re.MULTILINE)
_QUOTED = re.compile(r'"((?:[^"\n]|"(?=\w))+?)"(?!\w)|``(.+?)``')
_NAME = re.compile(r"@?[A-Za-z_][\w.]*(?:\(\))?|-?\d+(?:\.\d+)?")
_EMPHASIS = re.compile(r"(?<!\w)\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?!\w)")
# From a capital to a stop or colon; what starts with a parameter's name ends in a stop.
_WHOLE = re.compile(r"""["'(]?[A-Z].*[.:!?]["')]?|[a-z_]+,? [a-z][^=]*\.""")
_FOOTNOTE = re.compile(r"\s*\[\d+\]")


def pydoc_lines() -> tuple[list[Line], list[Line], list[Line]]:
    """Training, validation and test sentences (80 %, 10 %, 10 % of the words), each a list of words.

    Topics have subjects and words of their own, so that three contiguous blocks would be tested on
    subjects they were not trained on. Paragraphs are therefore dealt to the parts in a pseudo-random
    order, by a hash of their text: the same on every machine, and a paragraph that a new Python
    leaves alone mostly stays where it was. Within a part they are in the order of the text. Topics
    repeat each other's paragraphs and sentences; the first of each counts, or training would know
    the answers.

    Raises:
        RunFailedError: This Python came without `pydoc_data`.
    """
    paragraphs = _cut(_paragraphs())
    order = sorted(range(len(paragraphs)), key=lambda i: _hash(paragraphs[i]))
    total = sum(_size(paragraph) for paragraph in paragraphs)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    dealt = 0
    for i in order:
        parts[0 if dealt < 0.8 * total else 1 if dealt < 0.9 * total else 2].append(i)
        dealt += _size(paragraphs[i])
    train, valid, test = ([line for i in sorted(part) for line in paragraphs[i]] for part in parts)
    return train, valid, test


def _topics() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise RunFailedError(
            "the corpus 'pydoc' is not there: this Python came without the module pydoc_data. "
            "Use a full Python, or give a folder of text: --corpus DIR."
        ) from None
    return [topics[key] for key in sorted(topics)]


def _paragraphs() -> list[str]:
    """The paragraphs of prose, each once and on one line, without markup."""
    found: dict[str, None] = {}  # a set that keeps the order
    for topic in _topics():
        for block in re.split(r"\n\s*\n", topic):
            if (paragraph := _prose(block)) is not None:
                found[paragraph] = None
    return list(found)


def _cut(paragraphs: Iterable[str]) -> list[list[Line]]:
    """The sentences of each paragraph, long ones each once."""
    found: list[list[Line]] = []
    seen: set[tuple[str, ...]] = set()
    for paragraph in paragraphs:
        lines = []
        for sentence in sentences(paragraph):
            line = words(sentence)
            if len(line) >= _SHORTEST and tuple(line) not in seen:
                lines.append(line)
            if len(line) >= _UNIQUE:
                seen.add(tuple(line))
        found.append(lines)
    return found


def _prose(block: str) -> str | None:
    """What a block between blank lines says; None for code, grammar, tables, headings and signatures."""
    if _NOT_PROSE.search(block):
        return None
    lines = [line.strip() for line in block.strip("\n").split("\n")]
    if any(_UNDERLINE.match(line) for line in lines):
        return None
    text = _BULLET.sub("", " ".join(lines))
    text = _FOOTNOTE.sub("", text)
    text = _QUOTED.sub(_quoted, text)
    text = _EMPHASIS.sub(r"\1", text)
    return text if _WHOLE.fullmatch(text) and len(text.split()) >= 4 else None


def _quoted(match: re.Match[str]) -> str:
    """A name without its quotes and brackets; more than a name, as `CODE`."""
    inner = (match[1] or match[2]).strip()
    return inner.removesuffix("()") if _NAME.fullmatch(inner) else CODE


def _hash(paragraph: Iterable[Line]) -> bytes:
    text = "\n".join(" ".join(line) for line in paragraph)
    return hashlib.sha256(_SALT + text.encode()).digest()


def _size(paragraph: Iterable[Line]) -> int:
    return sum(len(line) for line in paragraph)
