"""The run as one page to look at: self-contained, and everything a model or corpus wrote is escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.data.records import Sample, read_records
from selfemo.method import gate
from selfemo.method.gate import Decision
from selfemo.method.probabilities import COVERAGES
from selfemo.places import temporary
from selfemo.registry.rounds import HEADERS, RoundRow, cells, fate, stops
from selfemo.report import plots
from selfemo.shown import redacted

if TYPE_CHECKING:
    from selfemo.context import Context

EXAMPLES = 6

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h1{margin-bottom:.2rem}h2{margin-top:2.2rem;border-bottom:1px solid #d8dee6;padding-bottom:.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.3rem .7rem;text-align:right}
td{white-space:nowrap}td.text,th.text{white-space:normal;text-align:left}
th{border-bottom:2px solid #1c2430;font-weight:600}tr:nth-child(even) td{background:#f4f6f9}
.wide{overflow-x:auto}.failed{background:#fdecea;padding:.6rem 1rem;border-left:4px solid #c0392b;white-space:pre-wrap}
figure{margin:1rem 0}img{max-width:100%}blockquote{margin:.6rem 0;padding:.3rem 1rem;border-left:4px solid #8aa4c8}
.muted{color:#66717f}dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem 1rem}dt{font-weight:600}dd{margin:0}
"""


def write_report(context: Context, rows: Sequence[RoundRow], page: Path, succeeded: bool, error: str = "") -> None:
    """Write the page.

    Args:
        context: Of the run.
        rows: Its decided rounds.
        page: File to write.
        succeeded: Whether the run did.
        error: What went wrong, if it did not.
    """
    config = context.config
    body = [
        f"<h1>self-emo: {escape(config.run)}</h1>",
        f"<p class=muted>{escape(config.policy.base)} on {escape(', '.join(c.name for c in config.corpora))}, "
        f"seed {config.seed}; MLflow {escape(redacted(context.registry.tracking_uri))}</p>",
    ]
    if not succeeded:
        body.append(f"<div class=failed><b>The run failed.</b>\n{escape(error)}</div>")
    if rows:
        body += [_table(rows), _curve(rows)]
    for uri in json.loads(
        context.registry.client.get_run(context.registry.parent).data.tags.get("selfemo.decisions", "[]")
    ):
        body += _round(context, uri)
    page.write_text(_whole(f"self-emo: {config.run}", body), encoding="utf-8")


def round_page(context: Context, uri: str) -> str:
    """One round as a page of its own: no network, everything a model or corpus wrote is escaped.

    Args:
        context: Of the run.
        uri: Of the round's decision.
    """
    return _whole(f"self-emo: {context.config.run}", _round(context, uri))


def round_summary(context: Context, uri: str) -> str:
    """One round in a few lines of Markdown, numbers and fixed words alone: nothing that a model wrote.

    Args:
        context: Of the run.
        uri: Of the round's decision.
    """
    decision = context.store.manifest(uri)
    assert decision is not None  # the step has published it
    row = RoundRow(**decision.result["row"])
    lines = [f"## Round {row.round}: {outcome(row)}", "", "| measure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in zip(HEADERS, cells(row), strict=True)]
    seen = Decision.from_dict(decision.result).cells()
    if seen:
        lines += ["", f"| {' | '.join(gate.HEADERS)} |", "|" + "---|" * len(gate.HEADERS)]
        lines += [f"| {' | '.join(line)} |" for line in seen]
    if row.reasons:
        lines += ["", "| candidates | count |", "|---|---|"]
        lines += [f"| {reason} | {count} |" for reason, count in sorted(row.reasons.items(), key=lambda i: -i[1])]
    return "\n".join([*lines, "", f"MLflow: {redacted(context.registry.link(row.round)) or '-'}", ""])


def outcome(row: RoundRow) -> str:
    """What became of a round, in a word or two."""
    found = fate(row)
    return "not promoted" if found == "kept" else found


PROBABILITIES = {
    "calibration_error": "calibration error",
    "scaled_calibration_error": "scaled",
    "brier": "Brier",
    "scaled_brier": "scaled",
    "temperature": "temperature",
}
"""Of an evaluation's metrics, and their columns."""
SETS = {
    "sets_micro_f1": "micro F1 [95 %]",
    "sets_macro_f1": "macro F1 [95 %]",
    "subset_accuracy": "subset accuracy",
    "mean_smoothed_iou": "mean smoothed IoU",
    "label_ranking_average_precision": "ranking precision",
    "vote_cross_entropy": "cross-entropy with votes",
}
"""The same, of sets of labels."""


def _whole(title: str, body: Sequence[str]) -> str:
    text = "".join(f"{part}\n" for part in body)
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
    return f"{head}<style>{STYLE}</style>\n{text}</html>\n"


def _table(rows: Sequence[RoundRow]) -> str:
    head = "".join(f"<th>{escape(h)}" for h in HEADERS)
    lines = "".join("<tr>" + "".join(f"<td>{escape(c)}" for c in cells(r)) for r in rows)
    notes = "".join(f"<p class=failed>{escape(line)}</p>" for line in stops(rows))
    return f"<div class=wide><table><tr>{head}{lines}</table></div>{notes}"


def _curve(rows: Sequence[RoundRow]) -> str:
    with temporary("report") as directory:
        path = directory / "rounds.png"
        names = [f"round {r.round}" for r in rows]
        plots.rounds(names, [r.weighted_f1 for r in rows], [r.weighted_f1_interval for r in rows], path)
        return _image(path, "Weighted F1 by round")


def _image(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}"></figure>'


def _round(context: Context, uri: str) -> list[str]:
    """One round's section, from its decision back to what was kept."""
    store = context.store
    decision = store.manifest(uri)
    if decision is None:
        return []
    inputs, result = decision.inputs, decision.result
    row = RoundRow(**result["row"])
    style = " class=failed" if row.stopped else ""
    parts = [f"<h2>Round {row.round}: {outcome(row)}</h2>", f"<p{style}>{escape(str(result['reason']))}</p>"]
    parts += _gains(Decision.from_dict(result))
    scores = store.fetch(str(inputs["scores"]))
    parts += [_image(p, p.stem) for p in sorted(scores.glob("confusion-*.png"))]
    parts += [*_sets(scores), *_labels(scores), *_probabilities(scores)]
    trained = store.manifest(str(inputs["challenger"]))
    if trained is not None:
        if "training.png" in trained.files:
            files = store.fetch(str(inputs["challenger"]), trained)
            parts.append(_image(files / "training.png", "Training curves"))
        if samples := trained.inputs.get("samples"):
            filtered = store.fetch(str(samples))
            parts += [*_voices(filtered), *_mix(filtered), *_kept(filtered), *_rejected(filtered)]
    if row.reasons:
        reasons = "".join(f"<dt>{escape(k)}<dd>{v}" for k, v in sorted(row.reasons.items(), key=lambda i: -i[1]))
        parts.append(f"<h3>Candidates by reason</h3><dl>{reasons}</dl>")
    return parts


def _gains(decision: Decision) -> list[str]:
    """What the gate saw of the challenger."""
    head = "".join(f"<th>{escape(name)}" for name in gate.HEADERS)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in line) for line in decision.cells())
    return [f"<h3>Gate</h3><div class=wide><table><tr>{head}{rows}</table></div>"] if rows else []


def _sets(scores: Path) -> list[str]:
    """How sets of labels were read, a line a corpus."""
    rows = ""
    for corpus, values in json.loads((scores / "metrics.json").read_text()).items():
        if "sets_micro_f1" in values:  # what is under "expression" is no corpus, and older versions had none
            cells = [_figure(values.get(name)) + _spread(values.get(f"{name}_interval")) for name in SETS]
            rows += f"<tr><td>{escape(corpus)}<td>{values['turns_of_several']}"
            rows += "".join(f"<td>{cell}" for cell in cells)
    head = "".join(f"<th>{escape(name)}" for name in ("corpus", "turns of several", *SETS.values()))
    return [f"<h3>Sets of labels</h3><div class=wide><table><tr>{head}{rows}</table></div>"] if rows else []


def _labels(scores: Path) -> list[str]:
    """Each label's turns, and how well it is found: as the first label, and as one of a set."""
    rows = ""
    for corpus, values in json.loads((scores / "metrics.json").read_text()).items():
        for number, (label, count) in enumerate(values.get("support", {}).items()):
            figures = "".join(f"<td>{values[name][label]:.3f}" for name in ("f1", "sets_f1"))
            rows += f"<tr><td>{escape(corpus)}<td>{number}<td>{escape(label)}<td>{count}{figures}"
    head = "".join(f"<th>{name}" for name in ("corpus", "no.", "label", "turns", "F1", "F1 in sets"))
    return [f"<h3>Labels</h3><div class=wide><table><tr>{head}{rows}</table></div>"] if rows else []


def _spread(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def _probabilities(scores: Path) -> list[str]:
    """How far the policy's probabilities can be believed, a line a corpus."""
    found = json.loads((scores / "metrics.json").read_text())
    rows = ""
    for corpus, values in found.items():
        if surest := values.get("accuracy_of_surest"):  # what is under "expression" is no corpus
            figures = [*(values[name] for name in PROBABILITIES), *surest.values()]
            rows += f"<tr><td>{escape(corpus)}" + "".join(f"<td>{figure:.3f}" for figure in figures)
    names = ["corpus", *PROBABILITIES.values(), *(f"surest {share:.0%}" for share in COVERAGES)]
    head = "".join(f"<th>{escape(name)}" for name in names)
    title = "<h3>Probabilities, and accuracy of the surest turns</h3>"
    return [f"{title}<div class=wide><table><tr>{head}{rows}</table></div>"] if rows else []


def _voices(files: Path) -> list[str]:
    """How often each voice is right where gold is known, what it counts, and how many targets flipped."""
    found = json.loads((files / "filter.json").read_text()).get("metrics", {})
    by_kind = {
        kind: {k.removeprefix(f"voice_{kind}/"): v for k, v in found.items() if k.startswith(f"voice_{kind}/")}
        for kind in ("accuracy", "weight")
    }
    names = sorted({name for values in by_kind.values() for name in values})
    rows = "".join(
        f"<tr><td>{escape(name)}" + "".join(f"<td>{_figure(values.get(name))}" for values in by_kind.values())
        for name in names
    )
    again = int(found.get("seen_again", 0))
    told = f"{found['flipped']:.1%} of {again} targets seen before flipped." if again else "No target was seen before."
    head = "<tr><th>voice<th>accuracy<th>weight"
    table = (
        f"<h3>Voices of the consensus</h3><div class=wide><table>{head}{rows}</table></div><p class=muted>{told}</p>"
    )
    return [table] if rows else []


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mix(files: Path) -> list[str]:
    """Labels of targets, before and after the filter."""
    found = json.loads((files / "filter.json").read_text())
    before, after = (found[k].get("understanding", {}) for k in ("labels_before", "labels_after"))
    if not before:
        return []
    with temporary("report") as directory:
        path = directory / "labels.png"
        plots.labels(before, after, path)
        names = [f"{plot}: {name}" for plot, name in plots.named(before).items() if plot != name]
        told = f"<p class=muted>{escape(', '.join(names))}</p>" if names else ""
        image = _image(path, "Label mix before and after the filter")
        return ["<h3>Labels of understanding targets</h3>", image, told]


def _rejected(files: Path) -> list[str]:
    """Some of what was rejected, by reason."""
    found = json.loads((files / "filter.json").read_text()).get("rejected_examples", {})
    rows = "".join(
        f"<tr><td>{escape(task)}<td>{escape(reason)}<td class=text>{escape(text)}"
        for task, reasons in sorted(found.items())
        for reason, texts in sorted(reasons.items())
        for text in texts
    )
    head = "<tr><th>task<th>reason<th class=text>example"
    return [f"<h3>Rejected</h3><div class=wide><table>{head}{rows}</table></div>"] if rows else []


def _kept(files: Path) -> list[str]:
    """Some kept replies, in their dialogues."""
    parts = ["<h3>Kept replies</h3>"]
    for sample in read_records(files / "samples.jsonl.gz", Sample):
        if sample.reply is None or len(parts) > EXAMPLES:
            continue
        last = sample.history[-1]
        parts.append(
            f"<blockquote>{escape(last.speaker)}: {escape(last.text)}<br><b>{escape(sample.role)}</b> "
            f"<i>[{escape(', '.join(sample.target))}]</i>: {escape(sample.reply)}</blockquote>"
        )
    return parts if len(parts) > 1 else []
