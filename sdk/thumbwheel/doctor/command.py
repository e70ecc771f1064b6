"""The `doctor` command: run every check, print one line each, exit 1 when something fails."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from thumbwheel.doctor.configuration import Configuration, from_environment
from thumbwheel.doctor.finding import Finding
from thumbwheel.doctor.machine import check_machine
from thumbwheel.doctor.packages import check_packages, installed, own_requirements, torch_cuda
from thumbwheel.doctor.reach import check_reach

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

MARK = {"ok": "  ok", "warn": "warn", "fail": "FAIL"}


def register(subparsers: "Subparsers") -> None:
    """Add `doctor` to the `thumbwheel` command."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what is missing or misconfigured on this machine, and how to mend it",
        description="Check packages, machine and configuration (the THUMBWHEEL_ variables, or the options here). "
        "Exits 1 when something fails; warnings do not count.",
    )
    parser.add_argument("--data", type=Path, help="state folder (THUMBWHEEL_DATA)")
    parser.add_argument("--host", help="address to listen on (THUMBWHEEL_HOST)")
    parser.add_argument("--port", help="port to listen on (THUMBWHEEL_PORT)")
    parser.add_argument("--model", help="local path or hub id to try (THUMBWHEEL_MODEL)")
    parser.add_argument("--url", help="a running service to ask (THUMBWHEEL_URL)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when nothing fails, else 1."""
    given = {name: getattr(arguments, name) for name in ("host", "port", "model", "url")}
    if arguments.data is not None:
        given["data"] = arguments.data.expanduser().absolute()
    configuration = replace(
        from_environment(os.environ), **{name: value for name, value in given.items() if value is not None}
    )
    findings: list[Finding] = []
    for finding in examine(configuration):
        findings.append(finding)
        if not arguments.json:
            print_line(finding)
    failed = sum(finding.state == "fail" for finding in findings)
    if arguments.json:
        report = msgspec.json.encode({"ok": not failed, "findings": findings})
        sys.stdout.write(msgspec.json.format(report, indent=2).decode() + "\n")
    else:
        warned = sum(finding.state == "warn" for finding in findings)
        print(f"\n{len(findings)} checks: {failed} failed, {warned} with a warning")
    return 1 if failed else 0


def examine(configuration: Configuration) -> Iterator[Finding]:
    """Every check, cheapest first."""
    yield from check_packages(installed(), own_requirements(), torch_cuda())
    yield from check_machine(configuration.data, configuration.host, configuration.port)
    yield from check_reach(configuration)


def print_line(finding: Finding) -> None:
    """State, check and what was found; below it how to mend it."""
    print(f"{MARK[finding.state]}  {finding.check:<17} {finding.found}", flush=True)
    if finding.mend:
        print(f"{'':<6}{'':<17} → {finding.mend}", flush=True)
