"""The run as one page to look at, and a round as one for Kubeflow: self-contained, all text from elsewhere escaped.

Templates escape by themselves (Jinja); what scripts show they put in as text; and the page's own policy lets no script
run but those it was written with, and nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfemo.method import gate
from selfemo.registry.markdown import table
from selfemo.registry.rounds import HEADERS, RoundRow, cells, stops
from selfemo.report import draw
from selfemo.report.conversations import conversations, packed
from selfemo.report.evidence import Round, read_round
from selfemo.report.figure import PAGE, Figure, theme
from selfemo.report.loop import LINEAGE, lineage, origins, outcome
from selfemo.report.sections import over, section_of, summary, tiles
from selfemo.shown import redacted

if TYPE_CHECKING:
    from selfemo.context import Context

_TEMPLATES = Path(__file__).with_name("templates")
_SCRIPTS = ("page.js", "browser.js")


def write_report(context: Context, rows: Sequence[RoundRow], page: Path, succeeded: bool, error: str = "") -> None:
    """Write the page.

    Args:
        context: Of the run.
        rows: Its decided rounds, with what the registry made of them.
        page: File to write.
        succeeded: Whether the run did.
        error: What went wrong, if it did not.
    """
    registry = context.registry
    tags = registry.client.get_run(registry.parent).data.tags
    known = {row.round: row for row in rows}
    read = (read_round(context, uri) for uri in json.loads(tags.get("selfemo.decisions", "[]")))
    rounds = [replace(found, row=known.get(found.number, found.row)) for found in read if found]
    rounds.sort(key=lambda r: r.number)
    versions = {
        int(r.data.tags["selfemo.round"]): r.data.tags.get("selfemo.model_version", "-") for r in registry.rounds()
    }
    stored = {r.policy for r in rounds if r.policy.startswith(f"{context.store.root}/")}
    digests = {uri: made.digest for uri in stored if (made := context.policies.manifest(uri))}
    given = {
        **_about(context),
        "code": tags.get("selfemo.code", ""),
        "mlflow": redacted(registry.public_uri),
        "root": context.store.root,
        "failure": None if succeeded else redacted(error),
    }
    page.write_text(report_page(rounds, given, versions, digests), encoding="utf-8")


def report_page(
    rounds: Sequence[Round], given: Mapping[str, Any], versions: Mapping[int, str], digests: Mapping[str, str]
) -> str:
    """The page of a run.

    Args:
        rounds: Decided ones, in order; may be none.
        given: ``run``, ``base``, ``corpora``, ``seed``, ``code``, ``mlflow``, ``root`` of the store, and ``failure``,
            None for a run that succeeded.
        versions: Numbers in the registry by round.
        digests: Of policies' files, by URI.
    """
    trained_by = {r.policy: r.number for r in reversed(rounds)}
    sections = [section_of(r, trained_by) for r in rounds]
    across = over(rounds) if rounds else []
    charts = _charts("run", across)
    for section in sections:
        charts |= _charts(section.place, section.figures)
    data = {"charts": charts, "theme": theme(PAGE), "origins": origins(rounds, str(given["root"]), trained_by)}
    talks = packed(conversations(rounds))
    scripts = [draw.script(), *(_read(name) for name in _SCRIPTS)] if rounds else []
    rows = [r.row for r in rounds]
    return _render(
        "report.html",
        **given,
        rounds=rounds,
        sections=sections,
        over=across,
        summary=summary(rounds),
        tiles=tiles(rounds),
        headers=HEADERS,
        rows=[cells(row) for row in rows],
        stops=stops(rows),
        packed=talks,
        recorded=all(r.kept.outcomes for r in rounds if r.kept),
        lineage=lineage(rounds, str(given["root"]), versions, digests),
        lineage_headers=LINEAGE,
        data=_json(data),
        scripts=[_safe(script) for script in scripts],
        policy=_policy(scripts),
    )


def round_page(context: Context, round: Round) -> str:
    """One round as a page of its own, for viewers that run no scripts: its charts are drawn already.

    Args:
        context: Of the run.
        round: The round.
    """
    section = section_of(round, {})
    pictures = {id: _safe(draw.svg(spec)) for id, spec in _charts(section.place, section.figures).items()}
    return _render("round.html", **_about(context), section=section, pictures=pictures, policy=_policy([]))


def round_summary(context: Context, round: Round) -> str:
    """One round in a few lines of Markdown, numbers and fixed words alone: nothing that a model wrote.

    Args:
        context: Of the run.
        round: The round.
    """
    row = round.row
    blocks = [f"## Round {row.round}: {outcome(row)}"]
    blocks.append(table(("measure", "value"), list(zip(HEADERS, cells(row), strict=True))))
    if seen := round.decision.cells():  # Kubeflow's pages set tables one right under the other
        blocks.append("### Gate")
        blocks.append(table(gate.HEADERS, seen))
    if row.reasons:
        most_first = sorted(row.reasons.items(), key=lambda i: -i[1])
        blocks.append("### What became of the candidates")
        blocks.append(table(("candidates", "count"), [(reason, str(count)) for reason, count in most_first]))
    return "\n\n".join([*blocks, f"MLflow: {redacted(context.registry.link(row.round)) or '-'}"]) + "\n"


def _about(context: Context) -> dict[str, Any]:
    config = context.config
    corpora = ", ".join(corpus.name for corpus in config.corpora)
    return {"run": config.run, "base": config.policy.base, "corpora": corpora, "seed": config.seed}


def _charts(place: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """Specifications by where they stand in the page, as the templates name them."""
    return {f"{place}-{f.key}-{i}": panel.spec for f in figures for i, panel in enumerate(f.panels)}


def _render(name: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals |= {"style": _safe(_read("page.css")), "gate_headers": gate.HEADERS}
    return templates.get_template(name).render(**values).lstrip("\n")


def _safe(text: str) -> Any:
    """Text that is markup, style or script of our own."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - files of this package, or escaped by whoever made it


def _json(value: Any) -> Any:
    """Data for a script, in an element that a text cannot end."""
    return _safe(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _policy(scripts: Sequence[str]) -> str:
    """What the page's browser lets it do: these scripts by their hashes, styles, and nothing from anywhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
