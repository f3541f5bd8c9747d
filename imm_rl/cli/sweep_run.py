"""Takes a sweep from where it stands to its end: what is missing is run, what failed is tried again.

A few jobs are out at a time, as many as keep the workers busy: the driver holds no more than these.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imm_rl.cli.sweep_job import ERROR
from imm_rl.cli.sweep_plan import SweepPlan
from imm_rl.cli.sweep_results import write_results
from imm_rl.cli.sweep_workers import Job, Workers
from imm_rl.files import write_text

WRITE_EVERY = 2.0
"""Seconds between two versions of `results.csv`, at the least."""


@dataclass
class Outcome:
    """How a sweep ended.

    Attributes:
        failed: Error by the number of each point that failed to the end.
        stopped: Whether Ctrl-C ended it.
    """

    failed: dict[int, str] = field(default_factory=dict)
    stopped: bool = False


Told = Callable[[Job, str], None]
"""Called with each job that ended, and its error or ""."""


def run_sweep(
    plan: SweepPlan,
    folder: Path,
    jobs: list[Job],
    made: Workers,
    *,
    at_once: int,
    retries: int,
    told: Told,
) -> Outcome:
    """Runs jobs until all are done, have failed for good, or Ctrl-C.

    Args:
        plan: The sweep.
        folder: Its folder.
        jobs: What is missing.
        made: The workers.
        at_once: Jobs that are out at a time.
        retries: How often a job is tried again.
        told: For progress.
    """
    outcome = Outcome()
    waiting: Iterator[Job] = iter(jobs)
    tried: dict[Job, int] = {}  # of jobs that are out
    written = time.monotonic()
    try:
        while True:
            while len(tried) < at_once and (job := next(waiting, None)) is not None:
                tried[job] = 1
                made.submit(job)
            if not tried:
                break
            for job, error in made.done():
                if error and len(job) > 1:
                    # One weight that diverges must not take the others with it: each alone.
                    del tried[job]
                    for number in job:
                        plan.points[number].folder(folder).checkpoint.unlink(missing_ok=True)
                    waiting = itertools.chain([(number,) for number in job], waiting)
                    continue
                if error and tried[job] <= retries:
                    tried[job] += 1
                    made.submit(job)
                    continue
                del tried[job]
                _keep(plan, folder, job, error, outcome)
                told(job, error)
            if time.monotonic() - written > WRITE_EVERY:
                write_results(plan, folder)
                written = time.monotonic()
    except KeyboardInterrupt:
        outcome.stopped = True
        made.interrupt()
    finally:
        write_results(plan, folder)
    return outcome


def _keep(plan: SweepPlan, folder: Path, job: Job, error: str, outcome: Outcome) -> None:
    """Leaves a failed job's error in its points' folders, for the table and for the next start."""
    for number in job if error else ():
        run = plan.points[number].folder(folder)
        if not run.finished:
            run.path.mkdir(exist_ok=True)
            write_text(run.path / ERROR, f"{error}\n", durable=False)
            outcome.failed[number] = error
