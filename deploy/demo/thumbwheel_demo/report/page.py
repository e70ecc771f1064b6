"""The report as one self-contained HTML page."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from thumbwheel_demo.report import figures
from thumbwheel_demo.report.record import Answered, Example, Report
from thumbwheel_demo.report.table import percent

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def render(report: Report) -> str:
    """The whole page; every text that people or policies wrote is escaped."""
    body = "\n".join(
        (
            _headline(report),
            _section("Does the wheel turn?", figures.satisfaction(report.versions) + _versions(report)),
            _section("What got better", figures.parts(report.versions)),
            _section("Nobody noticed the swaps", _timeline(report)),
            _section("Before and after", "".join(_example(e) for e in report.examples) or "<p>None.</p>"),
            _section("Reward model", _reward_model(report)),
            _section("Gate verdicts", _gates(report)),
            _section("Where the time went", _phases(report)),
            _section("Settings", _pairs(report.settings) + _pairs(report.machine)),
        )
    )
    return page("Thumbwheel: the wheel turns", body)


def page(title: str, body: str) -> str:
    """A page of the project's reports around a body."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table of plain texts."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _headline(report: Report) -> str:
    first, last = report.versions[0], report.versions[-1]
    gain = last.gain
    cards = (
        (f"{first.satisfaction.mean:.0%} → {last.satisfaction.mean:.0%}", "satisfied customers, held-out prompts"),
        (f"{gain.mean * 100:+.0f} points", f"95% interval {gain.low * 100:+.0f} to {gain.high * 100:+.0f}"),
        (f"{len(report.swaps)}", "hot-swaps under live chat load"),
        (f"{report.chats.lost} / {report.chats.truncated}", f"chats lost / cut, of {report.chats.total}"),
        (f"{report.seconds_after_setup / 60:.1f} min", "after set-up"),
    )
    shown = "".join(f"<div><b>{escape(big)}</b><span>{escape(small)}</span></div>" for big, small in cards)
    return (
        "<header><h1>The wheel turns</h1><p>Simulated customers chatted with a real service and voted, agents "
        "corrected a few answers. The learner saw votes and corrections; what satisfies a customer it was not told."
        f'</p><div class="cards">{shown}</div></header>'
    )


def _versions(report: Report) -> str:
    seconds = {swap.version: f"{swap.seconds * 1000:.0f} ms" for swap in report.swaps}
    rows = [
        (
            v.version,
            percent(v.satisfaction),
            "" if i == 0 else percent(v.gain, signed=True),
            "unknown" if v.kl is None else f"{v.kl:.2f}",
            f"{v.words:.1f}",
            "" if v.distinct_answers is None else percent(v.distinct_answers),
            "" if v.distinct_bigrams is None else percent(v.distinct_bigrams),
            f"{v.prompts} / {v.answers}",
            seconds.get(v.version, ""),
        )
        for i, v in enumerate(report.versions)
    ]
    head = ("version", "satisfied [95%]", "gain in points [95%]", "KL, nats", "words")
    head += ("distinct answers [95%]", "distinct-2 [95%]", "prompts / answers", "swap")
    note = (
        "Intervals are bootstrapped over prompts; the gain is paired: same prompts, base against version. Distinct: "
        "among the answers to one prompt, and among their pairs of words."
    )
    return f"{table(head, rows)}<p class=note>{note}</p>"


def _timeline(report: Report) -> str:
    chats = report.chats
    names = [v.version for v in report.versions]
    plot = figures.timeline(report.timeline, report.swaps, names) if report.timeline else ""
    head = ("swap", "seconds", "seen at", "chats in flight")
    rows = [
        (f"{s.previous} → {s.version}", f"{s.seconds:.3f}", f"{s.at_s:.0f} s", str(s.chats_in_flight))
        for s in report.swaps
    ]
    words = (
        f"<p>{chats.total} chats, {chats.streamed} of them streamed: {chats.lost} lost, {chats.truncated} cut. "
        f"{chats.to_length} answers ran into their token limit.</p>"
    )
    errors = _pairs(chats.errors) + _pairs(chats.first_errors) if chats.errors else ""
    return plot + words + errors + (table(head, rows) if rows else "<p>No swap.</p>")


def _bubble(role: str, text: str, kind: str = "") -> str:
    return f'<p class="{escape(role)} {kind}"><i>{escape(role)}</i>{escape(text)}</p>'


def _answer(answered: Answered) -> str:
    mark = "satisfied" if answered.satisfied else "not satisfied"
    kind = "good" if answered.satisfied else "bad"
    return (
        f'<div class="answer"><h3>{escape(answered.version)} <em class="{kind}">{mark}</em></h3>'
        f"{_bubble('assistant', answered.text, kind)}</div>"
    )


def _example(example: Example) -> str:
    said = "".join(_bubble(str(m["role"]), str(m["content"])) for m in example.messages)
    return f'<article>{said}<div class="pair">{_answer(example.before)}{_answer(example.after)}</div></article>'


def _reward_model(report: Report) -> str:
    figures_now = report.reward_model
    if not figures_now or figures_now.get("accuracy") is None:
        return "<p>No reward model was trained in this run.</p>"
    bins: list[dict[str, Any]] = figures_now.get("calibration") or []
    plot = figures.calibration(bins) if bins else ""
    flat = {k: v for k, v in figures_now.items() if isinstance(v, int | float | str) and not isinstance(v, bool)}
    return f'<div class="beside">{plot}{_pairs(flat)}</div>'


def _gates(report: Report) -> str:
    rows = [
        (str(g.turn), g.version or "none", "shipped" if g.accepted else "not shipped", g.reason) for g in report.gates
    ]
    return table(("turn", "version", "verdict", "reason"), rows)


def _phases(report: Report) -> str:
    return table(("phase", "seconds"), [(p.name, f"{p.seconds:.1f}") for p in report.phases])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pairs(values: dict[str, Any]) -> str:
    return table(("", ""), [(key, _shown(value)) for key, value in values.items()])
