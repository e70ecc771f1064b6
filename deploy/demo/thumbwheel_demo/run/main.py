"""From parsed arguments to a report on disk and an exit code."""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from typing import cast

from rich.console import Console

from thumbwheel import ThumbwheelError
from thumbwheel_demo.report.page import render
from thumbwheel_demo.report.record import Report, write_json
from thumbwheel_demo.report.table import print_report
from thumbwheel_demo.run.demo import Demo
from thumbwheel_demo.run.options import BadOption, DemoOptions, parse_chats, parse_stages

INTERRUPTED = 130


class Interrupted(ThumbwheelError):
    """Somebody wants the run to end."""


def options_of(arguments: argparse.Namespace) -> DemoOptions:
    """Options from the command line; raises `BadOption`."""
    return DemoOptions(
        seed=arguments.seed,
        noise=arguments.noise,
        votes=arguments.votes,
        corrections=arguments.corrections,
        shuffle_votes=arguments.shuffle_votes,
        turns=arguments.turns,
        stages=parse_stages(arguments.stages),
        chats=parse_chats(arguments.chats),
        background=arguments.background,
        rush=arguments.rush,
        heldout=arguments.heldout,
        answers=arguments.answers,
        model=arguments.model,
        out=arguments.out,
        settings=settings_of(cast(Sequence[str], arguments.set)),
    )


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` pairs; raises `BadOption`."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadOption(f"--set takes THUMBWHEEL_<NAME>=<value>, not {pair!r}")
        found[name] = value
    return found


def run_command(arguments: argparse.Namespace) -> int:
    """0 when the wheel turned and the report is written, 1 with a message otherwise, 130 on Ctrl-C."""
    console, errors = Console(), Console(stderr=True)
    try:
        options = options_of(arguments)
        report = asyncio.run(_interruptible(Demo(options, console, keep=partial(write_report, options))))
        write_report(options, report)
    except (KeyboardInterrupt, Interrupted):
        errors.print("stopped; service and learner are gone too")
        return INTERRUPTED
    except (ThumbwheelError, OSError) as error:
        errors.print(f"[red]thumbwheel demo:[/] {type(error).__name__}:", end=" ", highlight=False)
        errors.print(str(error), markup=False, highlight=False)
        return 1
    print_report(report, console)
    console.print(
        f"report: {options.out / 'report.html'} and {options.out / 'report.json'}", highlight=False, soft_wrap=True
    )
    return 0


async def _interruptible(demo: Demo) -> Report:
    """Run the demo; SIGTERM ends it as Ctrl-C does, so that no child stays behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await demo.run()
    except asyncio.CancelledError as error:
        raise Interrupted from error
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def write_report(options: DemoOptions, report: Report) -> None:
    """Write `report.json` and `report.html`."""
    write_json(options.out / "report.json", report)
    (options.out / "report.html").write_text(render(report), encoding="utf-8")
