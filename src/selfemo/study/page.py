"""A study's table, plots and data files, from the records of its finished runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfemo.report.draw import png
from selfemo.study import charts
from selfemo.study.plan import StudyPlan
from selfemo.study.stats import Estimate, Variants

OF_ROUNDS = {
    "pseudo-labels right": ("filter", "pseudo_label_accuracy"),
    "kept right": ("filter", "kept_label_accuracy"),
    "acceptance": ("filter", "acceptance"),
    "group confidence": ("filter", "group_confidence"),
    "entropy of predictions": ("filter", "predicted_entropy"),
    "entropy of targets": ("filter", "target_entropy"),
    "distinct-2": ("filter", "distinct_2"),
    "zero variance": ("training", "zero_variance"),
}
"""What the second table shows of rounds: heading, and where a record has it."""

RENAMED = {"predicted_entropy": "target_entropy", "label_entropy": "kept_entropy"}
"""What records without a ``target_entropy`` call otherwise: the guard was shown the entropy of calibrated targets."""


def write(plan: StudyPlan, records: Sequence[Mapping[str, Any]], out: Path, command: str) -> Path:
    """Write ``table.md``, ``scores.csv``, ``rounds.csv`` and the plots.

    Args:
        plan: The study.
        records: Of its finished runs.
        out: Directory.
        command: That made them.

    Returns:
        The table.
    """
    records = [{**r, "rounds": [_named(x) for x in r["rounds"]]} for r in records]
    _scores_csv(records, out / "scores.csv")
    _rounds_csv(records, out / "rounds.csv")
    lines = [f"# {plan.title}", "", f"    {command}", ""]
    for machine in sorted({str(r["machine"]) for r in records}):
        lines.append(f"Machine: {machine}.")
    lines += [
        "Gains are over what a variant starts from: the warm-up, unless its name says otherwise.",
        "Means over seeds; in brackets the 95 % interval of a paired bootstrap over seeds and dialogues.",
        f"Differences in bold leave 0 out. Code: {', '.join(sorted({str(r['code']) for r in records}))}.",
        "",
    ]
    for budget in plan.budgets:
        mine = [r for r in records if str(r["budget"]) == budget]
        if not mine:
            continue
        variants = Variants(mine)
        present = [a for a in plan.variants if any(r["variant"] == a for r in mine)]
        lines += [f"## {budget} labelled dialogues", "", *_table(plan, variants, present), ""]
        lines += [*_rounds_table(plan, mine, present), ""]
        lines += _drawn(plan, variants, present, mine, budget, out)
    path = out / "table.md"
    path.write_text("\n".join(lines))
    return path


def _named(round: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record's round with its figures by their names of today; the figures in records are never changed."""
    found = round.get("filter", {})
    if not found or "target_entropy" in found:
        return round
    return {**round, "filter": {RENAMED.get(k, k): v for k, v in found.items()}}


def _table(plan: StudyPlan, variants: Variants, present: Sequence[str]) -> list[str]:
    ours = plan.variants[plan.ours].title
    heads = [
        "variant",
        "seeds",
        "accuracy",
        "weighted F1",
        "macro F1",
        "gain in accuracy",
        "gain in weighted F1",
        f"{ours} above it in accuracy",
        f"{ours} above it in weighted F1",
        "expression own",
        "judge",
        "minutes",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for variant in present:
        rows = [r for (a, _), r in sorted(variants.records.items()) if a == variant]
        seeds = variants.seeds(variant)
        cells = [plan.variants[variant].title, ", ".join(map(str, seeds))]
        cells += [f"{100 * variants.mean(variant, m).value:.1f}" for m in ("accuracy", "weighted_f1", "macro_f1")]
        for measure in ("accuracy", "weighted_f1"):
            cells.append(_difference(variants, variant, plan.start(variant), measure))
        for measure in ("accuracy", "weighted_f1"):
            cells.append(_difference(variants, plan.ours, variant, measure))
        for figure in ("expression_own", "expression_judge"):
            found = [r["scores"][figure] for r in rows if figure in r["scores"]]
            cells.append(f"{sum(found) / len(found):.2f}" if found else "-")
        cells.append(f"{sum(r['seconds'] for r in rows) / len(rows) / 60:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _difference(variants: Variants, variant: str, over: str, measure: str) -> str:
    """What one variant has more than another on the seeds that both have, if there are any."""
    return _points(variants.gain(variant, over, measure)) if variant != over and variants.seeds(variant, over) else "-"


def _points(estimate: Estimate) -> str:
    """In percentage points."""
    value = f"{100 * estimate.value:+.1f}"
    mark = f"**{value}**" if estimate.sure else value
    return f"{mark} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _rounds_table(plan: StudyPlan, records: Sequence[Mapping[str, Any]], present: Sequence[str]) -> list[str]:
    heads = ["variant", "round", *OF_ROUNDS, "stopped"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for variant in present:
        rounds = [x for r in records if r["variant"] == variant for x in r["rounds"] if "filter" in x]
        for number in sorted({x["round"] for x in rounds}):
            mine = [x for x in rounds if x["round"] == number]
            cells = [plan.variants[variant].title, str(number)]
            for section, key in OF_ROUNDS.values():
                found = [x[section][key] for x in mine if key in x.get(section, {})]
                cells.append(f"{sum(found) / len(found):.2f}" if found else "-")
            cells.append(f"{sum(bool(x['stopped']) for x in mine)} of {len(mine)}")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _drawn(
    plan: StudyPlan,
    variants: Variants,
    present: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    budget: str,
    out: Path,
) -> list[str]:
    """Draw what there is of a budget; the page's lines that show it."""
    others = [a for a in present if a != plan.warmup and variants.seeds(a, plan.start(a))]
    measures = {"accuracy": "accuracy", "weighted F1": "weighted_f1"}
    found = {name: [variants.gain(a, plan.start(a), m) for a in others] for name, m in measures.items()}
    names = [
        f"{plan.variants[a].title} ({len(variants.seeds(a, plan.start(a)))} of {len(plan.seeds)} seeds)" for a in others
    ]
    lines = []
    if names:
        title = f"Gain over the start, {budget} labelled dialogues, points"
        (out / f"gains-{budget}.png").write_bytes(png(charts.gains(names, found, title)))
        lines += [f"![Gains over the start](gains-{budget}.png)", ""]
    curves = {
        name: {
            plan.variants[variant].title: [
                [(x["round"], x[section][key]) for x in r["rounds"] if key in x.get(section, {})]
                for r in records
                if r["variant"] == variant
            ]
            for variant in others
        }
        for name, (section, key) in OF_ROUNDS.items()
    }
    drawn = {k: v for k, v in curves.items() if any(points for runs in v.values() for points in runs)}
    if drawn:
        (out / f"rounds-{budget}.png").write_bytes(png(charts.curves(drawn, f"Rounds, {budget} labelled dialogues")))
        lines += [f"![Rounds](rounds-{budget}.png)", ""]
    return lines


def _scores_csv(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(k for r in records for k in r["scores"]))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["budget", "variant", "seed", *names, "seconds"])
        for r in records:
            scores = [r["scores"].get(n, "") for n in names]
            rows.writerow([r["budget"], r["variant"], r["seed"], *(_short(v) for v in scores), r["seconds"]])


def _rounds_csv(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    flat = []
    for r in records:
        for x in r["rounds"]:
            row = {"budget": r["budget"], "variant": r["variant"], "seed": r["seed"], "round": x["round"]}
            for section in ("selection", "filter", "training", "reasons"):
                row |= {f"{section}_{k}": _short(v) for k, v in x.get(section, {}).items()}
            flat.append(row | {"seconds": x["seconds"], "promoted": x["promoted"], "stopped": x["stopped"]})
    names = list(dict.fromkeys(k for row in flat for k in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(flat)


def _short(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value
