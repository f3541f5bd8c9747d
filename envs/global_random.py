"""`seeded_globals`: makes code reproducible that draws from Python's and NumPy's global generators.

What wraps pomdp_py calls it: its models and planners know no other source of chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seeds both global generators for the block, and puts them back where they stood after it.

    Not for several threads at once: the generators are the process's.

    Args:
        seed: Whole number in [0, 2**32).
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  the global state is meant
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
