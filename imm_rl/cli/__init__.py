"""The command `imm-rl`: picks the sub-command, and turns errors into one line and an exit code.

Exit codes: 0; 2 bad input; 1 a run that failed; 130 after Ctrl-C. A closed pipe changes none of them: what
nobody reads is thrown away. Each sub-command is a module with
`add_arguments(parser)` and `run(args) -> int`, imported when it is asked for; what such a module needs
beyond the standard library it imports within `run`, so that every `--help` answers at once.

Of several processes that `torchrun` started (`imm_rl.launch`) the first that fails speaks, and no other.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from imm_rl import launch
from imm_rl.cli.streams import check_stdout, going_on_unread
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name
from imm_rl.out_of_memory import is_out_of_memory, message

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("imm_rl.cli.train", "train an agent with the help of a policy that sees less"),
    "solve": ("imm_rl.cli.solve", "solve a POMDP and keep the policy"),
    "evaluate": ("imm_rl.cli.evaluate", "say what a run or a policy earns"),
    "watch": ("imm_rl.cli.watch", "show a policy at work, and what the restricted policy believes"),
    "compare": ("imm_rl.cli.compare", "compare methods over many seeds"),
    "sweep": ("imm_rl.cli.sweep", "train every point of a file, on cores or on a cluster"),
    "plot": ("imm_rl.cli.plot", "draw the learning curves of runs"),
    "envs": ("imm_rl.cli.envs", "list the environments and their options"),
    "reproduce": ("imm_rl.cli.reproduce", "remake a figure or table of the paper"),
    "lm train": ("imm_rl.cli.lm_train", "train a language model with the help of n-grams"),
    "lm evaluate": ("imm_rl.cli.lm_evaluate", "say the perplexity of a language model"),
    "lm generate": ("imm_rl.cli.lm_generate", "let a language model write"),
}
"""A command is one word, or two of which the first is that of a group."""

START = {"": "train --env tiger", "lm ": "lm train --fast"}
"""What a newcomer is told to type first, by group."""

ABOUT = {
    "": "train an agent that sees more, helped by a policy that sees less",
    "lm ": "train a language model, helped by an n-gram model",
}

TOGETHER = ("lm train",)
"""Commands that several processes carry out together."""

SHOWS = ("watch",)
"""Commands that end where nobody looks on; the others go on to their end."""

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The words after `imm-rl`; default: those of this process.
    """
    code = _carried_out(list(sys.argv[1:] if argv is None else argv))
    if launch.joined:
        launch.end_at_once(code)
    return code


def _carried_out(arguments: list[str]) -> int:
    """The exit code of a command line, with what there is to say said."""
    command = _command(arguments)
    name = f"imm-rl {command}".strip()
    _make_streams_safe()
    with going_on_unread() if command not in SHOWS else contextlib.nullcontext():
        return _exit_code(command, arguments, name)


def _exit_code(command: str, arguments: list[str], name: str) -> int:
    try:
        code = _run(command, arguments)
        check_stdout()
        return code
    except SystemExit as done:  # argparse after --help or --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        return _complain(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:  # `imm-rl watch | head -1`
        # Python flushes stdout once more at its end; give it something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except InvalidInputError as error:
        return _complain(name, str(error), 2)
    except (ImmRlError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # as the user gave it
            return _complain(name, f"{error.strerror}: {error.filename}", 2)
        return _complain(name, _told(error, arguments), 1)
    except Exception as error:
        if is_out_of_memory(error):
            return _complain(name, _told(error, arguments), 1)
        if launch.claim_the_word():
            raise
        return 1


def _told(error: Exception, arguments: Sequence[str]) -> str:
    """An error's text; of missing memory, what to do about it."""
    if isinstance(error, ImmRlError) or not is_out_of_memory(error):
        return str(error)
    kept = "Repeat the command to go on: trainings that are done, and checkpoints, are kept."
    table = list(arguments[:1]) == ["reproduce"] and "table" in " ".join(arguments[1:2])
    return message(error, " ".join(arguments[:2]), kept if table else "")


def _run(command: str, arguments: list[str]) -> int:
    if not command:
        return _without_command(arguments)
    from imm_rl.cli.parser import Parser

    if launch.launched() > 1 and command not in TOGETHER:
        raise InvalidInputError(
            f"{command} runs in one process, and {launch.launched()} were started. Start it as: "
            f"imm-rl {command}"
        )
    path, summary = COMMANDS[command]
    module = importlib.import_module(path)
    parser = Parser(prog=f"imm-rl {command}", description=f"{summary[0].upper()}{summary[1:]}.")
    module.add_arguments(parser)
    args = parser.parsed(arguments[len(command.split()) :])
    args.command_line = [*launch.start_words(), *arguments]
    # `--env my_module:factory` means a module of the folder one stands in; installed ones come first.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    return int(module.run(args))


def _command(arguments: Sequence[str]) -> str:
    """The name in `COMMANDS` that the words begin with, or nothing."""
    begins = (name for name in COMMANDS if list(arguments[: len(name.split())]) == name.split())
    return next(begins, "")


def _without_command(arguments: list[str]) -> int:
    """Help, version, or first words that are no command."""
    import imm_rl
    from imm_rl.cli.parser import Parser

    commands, group = COMMANDS, ""
    if arguments and not arguments[0].startswith("-"):
        group = f"{arguments[0]} "
        commands = {name: about for name, about in COMMANDS.items() if name.startswith(group)}
        if not commands:
            raise unknown_name("command", arguments[0], COMMANDS)
        if arguments[1:] and not arguments[1].startswith("-"):
            raise unknown_name("command", " ".join(arguments[:2]), commands)
        arguments = arguments[1:]
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in commands.items())
    parser = Parser(
        prog=f"imm-rl {group}".strip(),
        usage=f"imm-rl {group}COMMAND [options]",
        description=f"Induced Model Matching: {ABOUT[group]}.\n\ncommands:\n{listed}",
        epilog=f"Start with: imm-rl {START[group]}\n"
        f"Each command has its own help: imm-rl {group}train --help",
    )
    parser.add_argument("--version", action="version", version=f"imm-rl {imm_rl.__version__}")
    parser.parsed(arguments)
    parser.print_help()
    return 0


def _complain(name: str, message: str, code: int) -> int:
    """One line on stderr, whatever the message."""
    if launch.claim_the_word():
        print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _make_streams_safe() -> None:
    """Lets λ and → through to terminals that cannot show them, as ?, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
