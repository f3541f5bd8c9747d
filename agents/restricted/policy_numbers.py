"""Numbers in the text of policy files, in and out, for `policyx_files` and `pomdp_solve_files`.

`float` takes more than files may hold (NaN, infinities, `1_000`, digits of other scripts); it is asked
first all the same, since files have millions of numbers, and what it let through is looked at after.
"""

from __future__ import annotations

import math
import re

import numpy as np

from imm_rl.envs.cassandra_tokens import is_number
from imm_rl.envs.model import FloatArray

MAX_NUMBERS = 250_000_000
"""Vectors times states of the largest policy that is read from text (2 GB)."""

MAX_ACTION = 1_000_000
"""A larger index of an action is taken for a mistake."""


class NotANumberError(Exception):
    """A word that is no finite number.

    Attributes:
        word: The word, cut where it is long.
        at: Where in the text it begins.
    """

    def __init__(self, word: str, at: int) -> None:
        super().__init__(word)
        self.word, self.at = word if len(word) <= 60 else f"{word[:57]}...", at


def numbers(text: str) -> FloatArray:
    """The numbers of a text, separated by white space.

    Raises:
        NotANumberError: A word is none, or not finite.
    """
    try:
        values = np.array(list(map(float, text.split())), dtype=np.float64)
    except ValueError:
        values = np.array([math.nan])
    if "_" in text or not text.isascii() or not np.isfinite(values).all():
        for word in re.finditer(r"\S+", text):
            if not is_number(word[0]) or not math.isfinite(float(word[0])):
                raise NotANumberError(word[0], word.start())
    return values


def row_text(row: FloatArray) -> str:
    """The shortest text that `float` reads back to the same bits."""
    return " ".join(map(repr, row.tolist()))
