"""The command line: commands live in the modules of this package, imported only when they are asked for."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence

import click

from secateur.core.errors import SecateurError, near_matches
from secateur.export.runner.text import shown
from secateur.pipeline.cli.stopped import Stopped, stoppable

COMMANDS = {
    "demo": "the embedded default, end to end, no network",
    "init": "asks for a model, images, a device and a budget, and writes a commented recipe",
    "run": "all stages of a recipe, or of a model with images and a budget; resumes where it stopped",
    "recipes": "the recipes that come with secateur",
    "sweep": "accuracy against cost over several budgets, scored once",
    "inspect": "what can be removed from a model, and what cannot",
    "score": "the score stage of a run directory, or a search for its relevance rules",
    "curve": "accuracy against pruning rate and MACs, by method",
    "profile": "latencies of a model's parts on a target, for latency budgets",
    "plan": "the plan stage of a run directory",
    "prune": "the surgery stage of a run directory",
    "recover": "the recovery stage of a run directory",
    "export": "the ONNX stage of a run directory",
    "build": "the engine stage of a run directory",
    "bench": "latency of models, runs, ONNX files and engines; paired when two are given",
    "report": "the report of a run directory",
    "compare": "runs side by side: accuracy, cost and latency, as a table and a picture",
    "gate": "pass, fail or inconclusive: is the candidate really faster?",
    "history": "results over commits: the trend, where its level changed, exports",
    "bundle": "what a device needs of a run, with what proves it there",
    "serving": "files for Triton and DeepStream, of the small model of a run",
    "verify": "is a bundle right and as fast as it says, on this machine?",
    "device": "devices that are reached over ssh: add, list, doctor, stop, remove",
    "doctor": "what this machine can do, and how to get what is missing",
    "explain": "what a key of a recipe does, takes and is by default",
    "completion": "a script that completes commands and options in a shell",
}
STAGES = ("plan", "recover", "export")
"""The commands of `stages`; every other one is the `command` of a module of its own name."""
UNREAD = 128 + 13
"""The exit code where nobody reads on what is printed, as shells have it of programs that end by this signal."""
RESUMED = (*STAGES, "report", "demo", "run", "sweep", "score", "curve", "profile", "prune", "build")
"""The commands that keep what they finished, and go on from there."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of this package and are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = ("stages", cmd_name) if cmd_name in STAGES else (cmd_name, "command")
        command = getattr(importlib.import_module(f"secateur.pipeline.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            ctx.fail(f"{error.format_message().rstrip('.')}{near_matches(args[0], COMMANDS)}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-v", "--verbose", is_flag=True, help="Say also what is taken from where; at any place of a command.")
@click.version_option(package_name="secateur")
def cli(debug: bool, verbose: bool) -> None:
    """Makes trained timm models smaller and really faster on edge devices.

    Example: secateur run recipe.yaml --out runs/half
    """
    if verbose:
        _say_more()


LONG = re.compile(r"\S{1000,}")
"""Words of a command line that no message repeats whole; paths are shorter."""
VERBOSE = {"-v", "--verbose"}
"""The words that ask for more to be said."""
PACIFIED = "PacifyFlushWrapper"
"""The end of the name of what click puts in the place of an output that nobody reads, before it ends with 1."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 the gate failed, 2 bad input, 3 inconclusive, 70 our mistake."""
    words = sys.argv[1:] if args is None else args
    debug = "--debug" in words
    verbose = ["-v"] if VERBOSE & {*words} else []
    rest = [word for word in words if word != "--debug" and word not in VERBOSE]
    logging.lastResort = Notes(logging.WARNING)
    try:
        with stoppable():
            code = cli.main([*verbose, *rest], prog_name="secateur", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to print goes nowhere, too
        sys.exit(UNREAD)
    except SystemExit as ended:  # of click and rich, which end with 1 then: a gate that failed
        unread = isinstance(ended.__context__, BrokenPipeError) or type(sys.stdout).__name__.endswith(PACIFIED)
        sys.exit(UNREAD if unread else ended.code)
    except click.exceptions.Abort:
        click.echo(f"secateur: interrupted; the same command {_after_interruption(words)}", err=True)
        sys.exit(130)
    except Stopped as stopped:
        click.echo(f"secateur: ended by {stopped.name}; the same command {_after_interruption(words)}", err=True)
        sys.exit(stopped.exit_code)
    except click.ClickException as error:
        message = inert(LONG.sub(_cut, error.format_message()))
        error.format_message = lambda: message  # type: ignore[method-assign]  # its words may be names of files
        error.show()
        sys.exit(error.exit_code)
    except SecateurError as error:
        if debug:
            traceback.print_exc()
        complain(f"secateur: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        complain(f"secateur: cannot read or write: {where}{error.strerror or error}")
        sys.exit(2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        from secateur.pipeline.cli.unexpected import UNEXPECTED, report_of

        complain(report_of(error, words))
        sys.exit(UNEXPECTED)
    sys.exit(code if isinstance(code, int) else 0)


def _say_more() -> None:
    """Lets secateur's own notes go to stderr, and not only its warnings."""
    logger = logging.getLogger("secateur")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(Notes())


class Notes(logging.Handler):
    """Says secateur's own notes and warnings on stderr, wherever that is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


def complain(text: str) -> None:
    """Prints a message on stderr, inert."""
    click.echo(inert(text), err=True)


def _cut(word: re.Match[str]) -> str:
    return f"{word[0][:80]}... ({len(word[0]):,} characters)"


def inert(message: str) -> str:
    """A message as a terminal may show it: lines after the first are set in, so that none passes for one of ours."""
    return shown(message).replace("\n", "\n  ")


def _after_interruption(words: Sequence[str]) -> str:
    """What a command does when it is given again; work on a device goes on there."""
    command = next((word for word in words if not word.startswith("-")), "")
    there = any(word.partition("=")[0] == "--device" for word in words)
    return "goes on from here" if there or command in RESUMED else "starts anew"
