"""Several problems through `imm-rl compare`, and one table of all of them.

    python scripts/comparisons.py --seeds 100-129 --out docs/comparisons.md

Writes the table and, where --pictures names a folder, each problem's picture there. A problem may have
options of its own after a space; what this script does not know goes to every `imm-rl compare`:
--methods "none,imm(lambda=0.25)", --reference imm.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from imm_rl.cli import main as imm_rl
from imm_rl.cli.compare_report import main_rows, markdown_table
from imm_rl.cli.run_curves import COMPARISON
from imm_rl.curve_statistics import FEWEST
from imm_rl.files import write_text
from imm_rl.runs import file_name

PROBLEMS = (
    "grid;tiger;cheese;4x3;../shared/data/pomdp/hallway.POMDP --steps 20000 --eval-episodes 20"
)


def compared(problem: str, logdir: Path, options: list[str]) -> tuple[dict[str, Any], Path, float]:
    """One comparison: its result, its folder, and the seconds that it took."""
    spec, *own = shlex.split(problem)
    before = set(logdir.glob("*/compare-*"))
    started = time.perf_counter()
    code = imm_rl(["compare", "--env", spec, "--logdir", str(logdir), *own, *options])
    # A method that diverged is named in the table, and the other problems go on.
    done = [f for f in set(logdir.glob("*/compare-*")) - before if (f / COMPARISON).is_file()]
    if not done:
        sys.exit(f"imm-rl compare --env {problem} ended with {code}")
    (folder,) = done
    result = json.loads((folder / COMPARISON).read_text(encoding="utf-8"))
    return result, folder, time.perf_counter() - started


def section(result: dict[str, Any], problem: str, seconds: float) -> list[str]:
    """A heading, what was measured, and the table."""
    level, steps = result["threshold"], result["arms"][0]["env_steps"]
    return [
        f"## {Path(shlex.split(problem)[0]).stem}",
        "",
        f"{steps:,} steps of each seed; threshold {level['return']:.4g} ({level['text']} {level['of']}); "
        f"{seconds:.0f} s.",
        "",
        *markdown_table(main_rows(_finite(result))),
        "",
    ]


def _finite(result: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a median that is null was one, and an end too where there are intervals."""
    for arm in result["arms"]:
        end_of_null = float("inf" if len(arm["seeds"]) >= FEWEST else "nan")
        steps, against = arm["steps_to_threshold"], arm["against_reference"]
        found = [steps] if against is None else [steps, against["steps_ratio"]]
        for part in found:
            part["ci95"] = [end_of_null if end is None else end for end in part["ci95"]]
        steps["median"] = float("inf") if steps["median"] is None else steps["median"]
        if against is not None and against["steps_ratio"]["ratio"] is None:
            never = steps["median"] == float("inf")  # the reference too, or it alone
            against["steps_ratio"]["ratio"] = float("nan" if never else "inf")
    return result


def main() -> None:
    """Compares on every problem and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default=PROBLEMS, help="separated by semicolons")
    parser.add_argument("--logdir", type=Path, default=Path("runs/comparisons"))
    parser.add_argument("--pictures", type=Path, help="folder; default: none are kept")
    parser.add_argument("--title", default="Methods compared")
    parser.add_argument("--out", metavar="FILE", required=True, help="Markdown file")
    args, options = parser.parse_known_args()
    lines = []
    for problem in filter(None, map(str.strip, args.problems.split(";"))):
        result, folder, seconds = compared(problem, args.logdir, options)
        lines += section(result, problem, seconds)
        if args.pictures is not None:
            name = file_name(Path(shlex.split(problem)[0]).stem)
            shutil.copyfile(folder / "curves.png", args.pictures / f"compare-{name}.png")
    command = shlex.join(["python", "scripts/comparisons.py", *sys.argv[1:]])
    head = [f"# {args.title}", "", f"Made by `{command}`.", ""]
    write_text(args.out, "\n".join([*head, *lines]).rstrip() + "\n")


if __name__ == "__main__":
    main()
