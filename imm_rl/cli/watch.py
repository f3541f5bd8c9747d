"""`imm-rl watch`: a policy at work and, beside it, what the restricted policy sees, believes, would do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_env
from imm_rl.errors import InvalidInputError, invalid

if TYPE_CHECKING:
    from imm_rl.cli.watch_policies import Watched

MAP_STEPS = 5
"""After so many steps is the belief that a map shows, unless `--steps` says otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Shows a policy at work, step by step: where the agent is, what the restricted view saw last and\n"
        "lets one believe, what the agent does and what the restricted policy would do. On the terminal,\n"
        "or with --out as a film or a picture."
    )
    parser.epilog = (
        "examples:\n"
        "  imm-rl watch\n"
        "  imm-rl watch runs/tiger/reinforce-pomdp-1 --episodes 3 --fps 2\n"
        "  imm-rl watch tiger.npz --env tiger --no-live\n"
        "  imm-rl watch runs/grid/reinforce-pomdp-1 --out grid.gif\n"
        "  imm-rl watch runs/grid/reinforce-pomdp-1 --map --out grid.png"
    )
    parser.add_argument(
        "policy",
        nargs="?",
        metavar="RUN|POLICY",
        help="a run folder, a model.zip, another zip of stable-baselines3, or a restricted policy's "
        ".npz, .policy, .policyx or .alpha (default: the latest finished run)",
    )
    add_env(parser, " (default: the one it was trained on)")
    parser.add_argument(
        "--restricted",
        metavar="POLICY",
        help="the policy shown beside the agent: what imm-rl train --restricted takes "
        "(default: the run's; none: the view and the belief alone)",
    )
    parser.add_argument("--seed", metavar="K", default="0", help="of the episodes (default: 0)")
    parser.add_argument("--episodes", metavar="N", help="how many, one after another (default: 1)")
    parser.add_argument(
        "--steps",
        metavar="N",
        help="of an episode at most (default: until the environment ends it); with --map: after how "
        f"many the belief is shown (default: {MAP_STEPS})",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="take the likeliest action instead of drawing"
    )
    parser.add_argument(
        "--fps",
        metavar="X",
        help="steps a second, on a terminal and in films (default: 4; Gymnasium: the environment's)",
    )
    parser.add_argument(
        "--no-live",
        action="store_true",
        help="print one step below the other instead of redrawing; so it is where output is no terminal",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="a film, .gif or .mp4, or steps of it on one sheet, .png; with --map .png, .svg or .pdf",
    )
    parser.add_argument(
        "--map",
        action="store_true",
        help="where states have places: the policy as arrows, its exact values, a belief; needs --out",
    )
    parser.add_argument(
        "--logdir", metavar="DIR", help="where the latest run is looked for (default: runs)"
    )


def run(args: argparse.Namespace) -> int:
    """Plays and shows."""
    from imm_rl.cli import values
    from imm_rl.cli.watch_files import checked_out

    _refuse_conflicts(args)
    seed = values.seed("--seed", args.seed)
    episodes = values.count("--episodes", "1" if args.episodes is None else args.episodes)
    steps = None if args.steps is None else values.count("--steps", args.steps)
    fps = None if args.fps is None else values.positive("--fps", args.fps)
    out = None if args.out is None else checked_out(args.out, fps, is_map=args.map)
    watched = _watched(args)
    most = watched.pair.max_steps
    if steps is not None and most is not None and steps > most:
        remedy = "Give fewer, or set max_steps of the environment where it has such an option"
        raise invalid(
            "--steps", f"be at most {most}, where {watched.pair.name} ends", steps, remedy
        )
    if args.map:
        return _map(watched, out, seed, MAP_STEPS if steps is None else steps, args.deterministic)
    moments = watched.moments(
        seed=seed,
        episodes=episodes,
        steps=steps,
        deterministic=args.deterministic,
        pictures=out is not None,
    )
    fps = watched.fps if fps is None else fps
    if out is None:
        from imm_rl.cli.watch_text import show

        show(watched, moments, episodes, fps, live=not args.no_live)
        return 0
    from imm_rl.cli.watch_files import write

    print(watched.about)
    written = write(out, watched, moments, episodes, fps)
    print(f"{written} in {out}")
    return 0


def _refuse_conflicts(args: argparse.Namespace) -> None:
    if args.map and args.out is None:
        raise InvalidInputError("--map draws a picture. Say where: --out FILE.png")
    if args.map:
        for name in ("episodes", "fps"):
            if getattr(args, name) is not None:
                raise InvalidInputError(f"--map is one picture, and has no --{name}. Leave it out.")
    if args.no_live and args.out is not None:
        raise InvalidInputError(
            "--no-live is for the terminal, and --out writes a file. Give up one."
        )
    if args.fps is not None and args.out is None and args.no_live:
        raise InvalidInputError("--fps is of a film or a live picture, and --no-live has none.")
    if args.fps is not None and args.out is not None and args.out.lower().endswith(".png"):
        raise InvalidInputError("--fps is of a film, and a .png stands still. Give up one.")


def _watched(args: argparse.Namespace) -> Watched:
    from imm_rl.cli.newest import policy_path
    from imm_rl.cli.watch_policies import find

    path = policy_path(args.policy, args.logdir, "imm-rl watch", "imm-rl lm generate")
    return find(path, args.env, args.restricted)


def _map(watched: Watched, out: Any, seed: int, steps: int, deterministic: bool) -> int:
    from imm_rl.cli.watch_map import draw

    shown = draw(out, watched, seed=seed, steps=steps, deterministic=deterministic)
    print(f"{watched.about}\n{shown} in {out}")
    return 0
