"""`load_policy`: the restricted policy in a file, whatever kind it is. The command line calls it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.belief_table import FORMAT, BeliefTablePolicy

if TYPE_CHECKING:
    from imm_rl.envs.model import TabularPOMDP


def load_policy(
    path: str | Path, model: TabularPOMDP | None = None
) -> AlphaVectorPolicy | BeliefTablePolicy:
    """Reads a policy that was saved by either kind, or by SARSOP or pomdp-solve.

    Args:
        path: The file; what its name may end in: `imm_rl.agents.restricted.policy_files`.
        model: The model it is for, looked ahead in by alpha vectors.

    Raises:
        InvalidInputError: The file is missing, damaged, or for a model of other sizes.
    """
    table = _table(Path(path), model)
    return AlphaVectorPolicy.load(path, model) if table is None else table


def _table(path: Path, model: TabularPOMDP | None) -> BeliefTablePolicy | None:
    """The belief table in a file; None if it is something else, which is for its reader to judge."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray) or "format" not in archive.files:
                return None
            if str(archive["format"]) != FORMAT:
                return None
            entries = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return BeliefTablePolicy.from_entries(entries, path, model)
