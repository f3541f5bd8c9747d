"""Speed and memory of many REINFORCE trainings at once on the paper's grid, beside the device's limits.

    python scripts/bench_batched.py --seeds 256,1024,4096 --device cuda
    python scripts/bench_batched.py --seeds 256 --paths host,device    # on a CPU: NumPy against tensors

Blocks of updates of all methods and paths are interleaved, so that what else the machine does meets all of
them; medians, and ratios to `none` of the same path within a round. Environment steps are those of all
trainings together, 50 an update each. Operations are those that PyTorch's `FlopCounterMode` counts in an
update, matrix products; the rest of an update moves bytes. Bytes are an estimate, by this rule: each
parameter is read 4 times and written 3 times an update (forward, backward, Adam with its two moments), each
activation of a hidden layer is written and read twice. Peak memory: of a process of its own for each arm,
on a GPU of the tensors alone, on the CPU of the process beyond what it held before the training was made.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import device_limits
import torch
from torch.utils.flop_counter import FlopCounterMode

import imm_rl
from imm_rl.agents import paper
from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.settings import ReinforceSettings

METHODS = ("none", "imm", "noising", "naive-kl")


class Arm(NamedTuple):
    """One training, and the operations of an update."""

    agent: IMMReinforce
    flops: int


def made(pair: Any, policy: Any, method: str, seeds: int, device: str, path: str) -> Arm:
    helped = method != "none"
    agent = IMMReinforce(
        pair,
        policy if helped else None,
        0.25 if helped else None,
        seeds=range(seeds),
        settings=ReinforceSettings.preset("paper"),
        device=device,
        method=method,
        on_device=path == "device",
    )
    train(agent, 2)
    with FlopCounterMode(display=False) as counter:
        train(agent, 1)
    return Arm(agent, int(counter.get_total_flops()))


def memory(args: argparse.Namespace, path: str, method: str, seeds: int) -> float:
    """Peak bytes of three updates, in a process of its own."""
    words = [
        "--env",
        args.env,
        "--device",
        args.device,
        "--child",
        json.dumps([path, method, seeds]),
    ]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def child(args: argparse.Namespace) -> None:
    path, method, seeds = json.loads(args.child)
    pair = imm_rl.make(args.env)
    policy = paper.restricted_policies(pair)["imm_argmax"]
    made(pair, policy, method, 1, args.device, path)  # what is loaded and made once
    start = device_limits.start_peak(torch.device(args.device))
    arm = made(pair, policy, method, seeds, args.device, path)
    print(device_limits.peak_bytes(arm.agent.device) - start)


def train(agent: IMMReinforce, updates: int) -> float:
    """Seconds of some updates without an evaluation."""
    device_limits.synchronize(agent.device)
    start = time.perf_counter()
    agent.learn(agent.env_steps + updates * agent.batch_steps, evaluate_at=[])
    device_limits.synchronize(agent.device)
    return time.perf_counter() - start


def moved_bytes(agent: IMMReinforce) -> int:
    """See the module's docstring."""
    parameters = sum(p.numel() for p in agent.policy.parameters())
    hidden = sum(agent.settings.hidden_sizes) * agent.pair.model.n_states * agent.n_runs
    return 4 * (7 * parameters + 4 * hidden)


def table(args: argparse.Namespace, seeds: int, best: device_limits.Limits) -> list[str]:
    pair = imm_rl.make(args.env)
    policy = paper.restricted_policies(pair)["imm_argmax"]
    arms = {
        (path, method): made(pair, policy, method, seeds, args.device, path)
        for path in args.paths.split(",")
        for method in args.methods.split(",")
    }
    found: dict[tuple[str, str], list[float]] = {key: [] for key in arms}
    for _ in range(args.rounds):
        for key, arm in arms.items():
            found[key].append(train(arm.agent, args.updates))
    lines = []
    for (path, method), seconds in found.items():
        arm = arms[path, method]
        own = statistics.median(seconds) / args.updates
        base = found.get((path, "none"), seconds)
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        steps = arm.agent.batch_steps * arm.agent.n_runs / own
        lines.append(
            f"| {seeds:,} | {path} | {method} | {steps:,.0f} | {1e3 * own:.1f} | {ratio:.2f} "
            f"| {memory(args, path, method, seeds) / 2**20:,.0f} "
            f"| {100 * arm.flops / own / best.float32:.2g} % "
            f"| {100 * moved_bytes(arm.agent) / own / best.bandwidth:.2g} % |"
        )
    return lines


def main() -> None:
    """Prints the limits and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--seeds", default="256,1024,4096", help="trainings at once (default: 256,1024,4096)"
    )
    parser.add_argument("--env", default="grid")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--paths", help="host, device or both; default: what the device trains by")
    parser.add_argument("--updates", type=int, default=10, help="of a block")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    device_limits.checked_device(parser, args.device)
    try:
        counts = [int(count) for count in args.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds must be whole numbers with commas; received {args.seeds!r}")
    args.paths = args.paths or ("host" if args.device == "cpu" else "device")
    best = device_limits.limits(args.device)
    print(f"{args.env}, {args.device}, {torch.get_num_threads()} threads; {best.text()}\n")
    print(
        "| trainings | path | method | environment steps/s | ms an update | ratio to none | peak, MiB "
        "| share of float32 FLOP/s | of bandwidth |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for seeds in counts:
        print("\n".join(table(args, seeds, best)), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
