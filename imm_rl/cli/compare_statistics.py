"""The numbers of a comparison, from its runs' curves and summaries to one dictionary.

Every number is of seeds, one value a seed: nothing is averaged over episodes of different seeds first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.cli.divergence import Divergence
from imm_rl.cli.run_curves import aligned, read
from imm_rl.curve_statistics import CensoredSteps, area_under_curve, log_rank, steps_to
from imm_rl.differences import (
    Difference,
    difference,
    holm,
    paired_difference,
    probability_of_improvement,
)
from imm_rl.errors import InvalidInputError
from imm_rl.resampling import FloatArray
from imm_rl.statistics import iqm_ci95, mean_ci95

if TYPE_CHECKING:
    from imm_rl.cli.compare_plan import Threshold
    from imm_rl.runs import RunFolder

EVALUATIONS = ("eval", "eval_deterministic", "eval_discounted", "eval_discounted_deterministic")


@dataclass(frozen=True)
class Trained:
    """One arm as its run left it.

    Attributes:
        label: In tables.
        path: The run folder.
        summary: Its `summary.json`.
        env_steps: (P,).
        returns: (P, K), the evaluations while it trained.
        finals: By evaluation, (K,); those that the summary has of each seed.
        shown: Environment steps of a seed that it was shown before its own, which are not among these.
    """

    label: str
    path: str
    summary: dict[str, Any]
    env_steps: FloatArray
    returns: FloatArray
    finals: dict[str, FloatArray]
    shown: float = 0.0

    @property
    def seeds(self) -> list[int]:
        """K of them."""
        return list(self.summary["seeds"])

    @classmethod
    def of(cls, label: str, folder: RunFolder) -> Trained:
        """Reads a finished run.

        Raises:
            InvalidInputError: It is not finished, or files are missing.
        """
        if not folder.finished:
            diverged = Divergence.read(label, folder.path)
            if diverged is not None:
                raise InvalidInputError(
                    f"the run {folder.path} {diverged.told}, so it has no result. Leave it out."
                )
            raise InvalidInputError(
                f"the run {folder.path} is not finished, so it has no result yet."
            )
        summary = folder.summary()
        (run,) = read(folder.path)
        if len(run.curves) != len(summary["seeds"]):
            raise InvalidInputError(
                f"the run {folder.path} has {len(summary['seeds'])} seeds and curves of {len(run.curves)}."
            )
        by_seed = sorted(
            zip(map(str, run.seeds), run.curves, strict=True), key=lambda e: _whole(e[0])
        )
        curves = aligned([curve for _, curve in by_seed])
        places = np.argsort(summary["seeds"])
        finals = {
            key: np.array(summary[key]["per_seed"])[places]
            for key in EVALUATIONS
            if summary.get(key) and "per_seed" in summary[key]
        }
        summary = {**summary, "seeds": sorted(summary["seeds"])}
        shown = 0.0
        if summary.get("method") == "bc":
            (found,) = read(folder.path, "bc/demonstration_steps")
            shown = float(np.mean([curve.values[-1] for curve in found.curves]))
        path = str(folder.path)
        return cls(label, path, summary, curves.env_steps, curves.values, finals, shown)


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else -1  # of a single seed nobody may say which


def compared(
    arms: Sequence[Trained],
    reference: str,
    threshold: Threshold,
    diverged: Sequence[Divergence] = (),
) -> dict[str, Any]:
    """Everything that a comparison says, JSON-able but for infinities.

    Args:
        arms: Those that ended, of one environment; at least one.
        reference: The label of one of them; where it is of one that diverged, nothing is held against it.
        threshold: Of the steps.
        diverged: Further arms, which are named and in no statistics.

    Raises:
        InvalidInputError: Arms are of different environments.
    """
    held = next((arm for arm in arms if arm.label == reference), None)
    base = arms[0] if held is None else held
    for arm in arms:
        if arm.summary["env"] != base.summary["env"]:
            raise InvalidInputError(
                f"{arm.label} was trained on {arm.summary['env']} and {base.label} on "
                f"{base.summary['env']}: their returns cannot be compared."
            )
        if arm.summary["env_steps"] != base.summary["env_steps"]:
            raise InvalidInputError(
                f"{arm.label} was trained for {arm.summary['env_steps']:,} steps and {base.label} for "
                f"{base.summary['env_steps']:,}: their areas and finals cannot be compared. Train one of "
                "them anew with the other's --steps."
            )
    optimum = next((a.summary["oracle"] for a in arms if a.summary.get("oracle")), None)
    best_final = max(float(arm.finals["eval"].mean()) for arm in arms)
    best = best_final if optimum is None else float(optimum["mean_return"])
    level = threshold.of(best)
    paired = all(arm.seeds == base.seeds for arm in arms)
    steps = {arm.label: steps_to(arm.env_steps, arm.returns, level) for arm in arms}
    found = [_arm(arm, held, steps, paired=paired) for arm in arms]
    _adjust([arm["against_reference"] for arm in found if arm["against_reference"] is not None])
    return {
        "env": base.summary["env"],
        "seeds": base.seeds,
        "paired": paired,
        "reference": reference,
        "threshold": {
            "text": threshold.text,
            "return": level,
            "of": _of(threshold, known=optimum is not None),
        },
        "optimum": None if optimum is None else best,
        "restricted": next(
            (a.summary["restricted_eval"] for a in arms if a.summary.get("restricted_eval")), None
        ),
        "arms": found,
        "diverged": [arm.as_dict() for arm in diverged],
    }


def _adjust(against: list[dict[str, Any]]) -> None:
    """Adds to each p-value of arms held against one reference that of Holm, for their number."""
    for part in ("final_difference", "area_difference"):
        for one, p in zip(against, holm([a[part]["p_value"] for a in against]), strict=True):
            one[part]["p_holm"] = p
    for one, p in zip(against, holm([a["log_rank_p"] for a in against]), strict=True):
        one["log_rank_p_holm"] = p


def _of(threshold: Threshold, *, known: bool) -> str:
    if threshold.share is None:
        return "as given"
    return "of the optimum" if known else "of the best final mean here: the optimum is not known"


def _arm(
    arm: Trained, base: Trained | None, steps: dict[str, CensoredSteps], *, paired: bool
) -> dict[str, Any]:
    mine = steps[arm.label]
    area = area_under_curve(arm.env_steps, arm.returns)
    found: dict[str, Any] = {
        "label": arm.label,
        "run": arm.path,
        "agent": arm.summary["agent"],
        "method": arm.summary.get("method"),
        "restricted": arm.summary["restricted"],
        "imm_lambda": arm.summary["imm_lambda"],
        "seeds": arm.seeds,
        "env_steps": arm.summary["env_steps"],
        "wall_seconds": arm.summary["wall_seconds"],
        "steps_to_threshold": {
            "median": mine.median,
            "ci95": list(mine.ci95),
            "reached": int(mine.reached.sum()),
            "shown_before": arm.shown,
        },
        "area_under_curve": _mean(area),
        "final_iqm": dict(zip(("iqm", "ci95"), _split(iqm_ci95(arm.finals["eval"])), strict=True)),
        **{
            key: {**_mean(values), "per_seed": values.tolist()}
            for key, values in arm.finals.items()
        },
        "against_reference": None,
    }
    if base is not None and arm is not base:
        theirs = area_under_curve(base.env_steps, base.returns)
        found["against_reference"] = {
            "steps_ratio": dict(
                zip(("ratio", "ci95"), _split(mine.ratio_to(steps[base.label])), strict=True)
            ),
            "log_rank_p": log_rank(mine, steps[base.label]),
            "final_difference": _difference(arm.finals["eval"], base.finals["eval"], paired=paired),
            "area_difference": _difference(area, theirs, paired=paired),
            "probability_of_improvement": dict(
                zip(
                    ("p", "ci95"),
                    _split(probability_of_improvement(arm.finals["eval"], base.finals["eval"])),
                    strict=True,
                )
            ),
        }
    return found


def _mean(values: FloatArray) -> dict[str, Any]:
    mean, low, high = mean_ci95(values)
    return {"mean": mean, "ci95": [low, high]}


def _split(found: tuple[float, float, float]) -> tuple[float, list[float]]:
    return found[0], list(found[1:])


def _difference(a: FloatArray, b: FloatArray, *, paired: bool) -> dict[str, Any]:
    found: Difference = paired_difference(a, b) if paired else difference(a, b)
    return {"mean": found.mean, "ci95": [found.low, found.high], "p_value": found.p_value}
