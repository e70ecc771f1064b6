"""The report as a terminal table."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from thumbwheel_demo.report.record import Interval, Report


def percent(interval: Interval, *, signed: bool = False) -> str:
    """`48% [42, 54]`, or with a sign for differences."""
    scale = 100
    sign = "+" if signed else ""
    unit = "" if signed else "%"
    return (
        f"{interval.mean * scale:{sign}.1f}{unit} [{interval.low * scale:{sign}.1f}, {interval.high * scale:{sign}.1f}]"
    )


def versions_table(report: Report) -> Table:
    """One row per policy version."""
    table = Table(title="Policy versions on held-out prompts", title_justify="left", header_style="bold")
    for name in ("version", "satisfied [95%]", "gain, points [95%]", "KL to base", "words", "distinct-2", "swap"):
        table.add_column(name, justify="left" if name == "version" else "right")
    seconds = {swap.version: swap.seconds for swap in report.swaps}
    for i, v in enumerate(report.versions):
        table.add_row(
            v.version,
            percent(v.satisfaction),
            "" if i == 0 else percent(v.gain, signed=True),
            "?" if v.kl is None else f"{v.kl:.2f}",
            f"{v.words:.0f}",
            "" if v.distinct_bigrams is None else f"{v.distinct_bigrams.mean:.0%}",
            f"{seconds[v.version] * 1000:.0f} ms" if v.version in seconds else "",
        )
    return table


def _figures_table(report: Report) -> Table:
    table = Table(title="The wheel", title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    chats = report.chats
    table.add_row("chats", f"{chats.total} ({chats.streamed} streamed), lost {chats.lost}, truncated {chats.truncated}")
    table.add_row("feedback", ", ".join(f"{count} {name}" for name, count in sorted(report.feedback.items())) or "none")
    figures = report.reward_model
    shown = [f"{key} {figures[key]:.3f}" for key in ("accuracy", "auc", "ece") if isinstance(figures.get(key), float)]
    table.add_row("reward model", ", ".join(shown) or "not trained in this run")
    for gate in report.gates:
        verdict = Text("accepted", "green") if gate.accepted else Text("not shipped", "yellow")
        name = f"gate, turn {gate.turn}"
        table.add_row(name, Text.assemble(verdict, " ", gate.version or "", ": ", gate.reason))
    for phase in report.phases:
        table.add_row(Text(f"  {phase.name}", "dim"), Text(f"{phase.seconds:.1f} s", "dim"))
    table.add_row("after set-up", f"{report.seconds_after_setup:.0f} s")
    return table


def tables(report: Report) -> RenderableType:
    """Everything that is printed at the end of a run."""
    return Group(versions_table(report), _figures_table(report))


def print_report(report: Report, console: Console) -> None:
    """Print the tables."""
    console.print(tables(report))
