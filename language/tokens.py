"""Plain text into sentences and words, by a few rules that fit English prose."""

from __future__ import annotations

import re

NUMBER = "N"
"""Stands for every number, as in the Penn Treebank's usual form; words are in lower case, so it is free."""

_TYPOGRAPHIC = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."}
)

_TOKEN = re.compile(
    r"""
      <\w+>                          # a placeholder such as <unk>
    | \.{3}                         # ...
    | (?:[a-z]\.){2,}                # e.g.  i.e.
    | \d+(?:[.,:]\d+)*(?!\w)         # 1  3.5  10,000
    | '(?:s|re|ve|ll|d|m)\b          # it 's  they 're
    | \w(?:\w|[-.](?=\w)|'(?=t\b))*  # word  built-in  os.path  don't
    | [^\w\s]                        # one sign of punctuation
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")

_SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[]*[A-Z])""")
_ABBREVIATION = re.compile(r"""(?:^|[\s(\["'])(?:e\.g|i\.e|etc|cf|vs|mr|mrs|dr|st|no)\.$""", re.I)


def words(text: str) -> list[str]:
    """The words of a text in lower case; a number is `N`, and each sign of punctuation is a word."""
    found: list[str] = _TOKEN.findall(text.translate(_TYPOGRAPHIC).lower())
    return [NUMBER if _NUMBER.fullmatch(word) else word for word in found]


def sentences(paragraph: str) -> list[str]:
    """A paragraph cut after `.`, `!` or `?` where a capital follows, but not after `e.g.` and its like."""
    found, start = [], 0
    for match in _SENTENCE_END.finditer(paragraph):
        if _ABBREVIATION.search(paragraph[start : match.start()]):
            continue
        found.append(paragraph[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in (*found, paragraph[start:].strip()) if sentence]
