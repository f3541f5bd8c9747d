"""`--restricted` where there is no model: from a text to a policy that acts on the restricted view.

none             train without
PATH             a model.zip of stable-baselines3, or a run folder that holds one
module:factory   called with the spaces of views and actions; returns a function of views (N, r), or any
                 policy that `imm_rl.agents.restricted.view_policy.as_view_policy` takes
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically
from imm_rl.runs import MODEL

if TYPE_CHECKING:
    from imm_rl.agents.restricted.view_policy import ViewPolicy
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.runs import RunFolder

COPY = "restricted.zip"
"""The restricted policy's zip in a run folder; in a folder `restricted` if statistics go with it."""


def make(text: str, pair: FeaturePair) -> ViewPolicy | None:
    """The policy that a text means.

    Args:
        text: See above.
        pair: The environment; it has a restricted view unless text is "none".

    Raises:
        InvalidInputError: A name of a solver, no such file or factory, or a policy that sees or does
            something else.
    """
    from imm_rl.agents.restricted.view_policy import as_view_policy

    if text == "none":
        return None
    assert pair.features is not None  # `train_config.resolve` saw to it
    if not Path(text).exists() and (":" not in text or "/" in text or "\\" in text):
        raise _not_a_policy(text, pair)
    return as_view_policy(text, pair.features.space, pair.action_space)


def keep(text: str, folder: RunFolder) -> None:
    """Copies the zip that a text names into the run folder; a factory is asked again."""
    from imm_rl.agents.restricted.sb3_zip import STATISTICS, find_zip

    if text == "none" or not Path(text).exists():
        return
    source = find_zip(text)
    statistics = source.with_name(STATISTICS)
    if not statistics.is_file():
        _copy(source, folder.path / COPY)
        return
    inside = folder.path / "restricted"
    inside.mkdir(exist_ok=True)
    _copy(statistics, inside / STATISTICS)
    _copy(source, inside / MODEL)  # last: `kept` looks for it


def kept(folder: RunFolder) -> str | None:
    """The path of the copy in a run folder; None where there is none."""
    for path in (folder.path / COPY, folder.path / "restricted" / MODEL):
        if path.is_file():
            return str(path)
    return None


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all: a run may be killed at any moment."""
    content = source.read_bytes()
    write_atomically(target, lambda file: file.write(content))


def _not_a_policy(text: str, pair: FeaturePair) -> InvalidInputError:
    from imm_rl.agents.restricted.named import policy_names

    remedy = (
        "Give none, module:factory, or the model.zip or run folder of a policy that was trained on the "
        f"restricted view, such as by imm-rl train --env {pair.name} --observe 2,3"
    )
    if text in policy_names():
        return InvalidInputError(
            f"restricted policy {text!r} is solved from a model, and {pair.name} has none. {remedy}."
        )
    return InvalidInputError(f"there is no restricted policy {text!r}. {remedy}.")
