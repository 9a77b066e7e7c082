"""A job of annotation from the first row to the last file; the same command goes on wherever it was ended."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo import fingerprint
from selfemo.annotate import added, batches, index
from selfemo.annotate.batches import AnnotationWork
from selfemo.annotate.belief import Belief
from selfemo.annotate.source import AnnotationSource, digest_of
from selfemo.annotate.write import Output
from selfemo.config import Config
from selfemo.data.label_file import LabelFile
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.policies import Policy
from selfemo.progress import heartbeat, meter
from selfemo.steps.shards import Shard
from selfemo.store.filelock import locked

log = logging.getLogger(__name__)

SCHEMA = "selfemo.annotation/1"
WRITTEN_WITHIN = 7200.0
"""Seconds until another process's writing of the output is given up on."""


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        source: What is annotated.
        out: Where to.
        policy: Who reads.
        corpus, space: Whose labels, and these.
        belief: How readings are calibrated, and when to abstain.
        prefix: Of the names of what is added.
        config: Of the command.
    """

    source: AnnotationSource
    out: Path
    policy: Policy
    corpus: str
    space: LabelSpace
    belief: Belief
    prefix: str
    config: Config

    @property
    def report(self) -> Path:
        """Beside the output: what was done."""
        return self.out.with_name(f"{self.out.name}.annotation.json")

    def read_by(self) -> str:
        """What decides the readings, as one word: the same for any calibration, threshold and prefix."""
        about = {
            "schema": SCHEMA,
            "source": self.source.identity(),
            "policy": [self.policy.uri, self.policy.digest, self.policy.version],
            "labels": LabelFile.of(self.space).model_dump(mode="json"),
            "config": self.config.policy.model_dump(mode="json", include={"engine", "history_turns", "precision"}),
            "code": [fingerprint.of_step("evaluate"), fingerprint.of_modules(("selfemo.annotate.batches",))],
            "part": batches.BATCH,
        }
        return _word(about)

    def asked(self, read_by: str) -> str:
        """What decides the output, as one word."""
        return _word([read_by, self.belief.temperature, self.belief.threshold, self.prefix])

    def check_names(self) -> None:
        """Make sure that what is added can be.

        Raises:
            UserError: If a column of that name is there, or the file's encoding has no letters for it.
        """
        names = added.names(self.space, self.prefix)
        where = str(self.source.path)
        if clash := next((name for name in self.source.plan.choices if name in names), None):
            fix = "give what is added another name: --prefix emo_"
            raise UserError(f"has a column {clash!r} already", where=where, fix=fix)
        for table in self.source.tables:
            if table.dialect is not None:
                try:
                    "".join(names).encode(table.dialect.encoding.name)
                except UnicodeEncodeError as error:
                    what = f"{table.dialect.encoding.name} has no {error.object[error.start]!r}, which a label has"
                    raise UserError(what, where=where, fix="give the file as UTF-8") from None

    def run(self, processes: int, shard: Shard, force: bool) -> dict[str, Any] | None:
        """Do it, or what is left of it.

        Args:
            processes: That read, here.
            shard: Which of the batches are this command's.
            force: Replace an output that is there.

        Returns:
            What the report says; None if other shards are not done yet.

        Raises:
            UserError: For a bad row, an output that is in the way, and whatever hinders reading.
        """
        self.check_names()
        read_by = self.read_by()
        asked = self.asked(read_by)
        if done := self._done(asked):
            return done
        self._check_free(force)
        place = self.out.with_name(f".{self.out.name}.{read_by[:12]}")
        taken = self._taken()  # rows were looked through for these names
        name = f"turns-{shard.number}-of-{shard.count}-{_word(taken)[:8]}.sqlite"
        with self._place(place):
            if not (place / name).is_file():
                with heartbeat("reading rows"):
                    index.build(place / name, self.source, taken)
        about = LabelFile.of(self.space)
        directory = self.policy.directory
        work = AnnotationWork(
            place / name, place / "parts", directory, self.policy.uri, about, self.config, batches.BATCH
        )
        with index.Index(place / name) as turns:
            whole = range(-(-turns.turns // work.size))
            mine = whole[shard.number :: shard.count]
            self._read(work, turns, mine, processes)
            if not all(work.done(batch, turns.turns) for batch in whole):
                if not self._done(asked):
                    log.info(
                        "shard %d of %d is done; the last to be done writes %s", shard.number, shard.count, self.out
                    )
                return self._done(asked)
            try:
                with locked(place / "writing.lock", f"writing {self.out}", WRITTEN_WITHIN):
                    report = self._done(asked) or self._write(work, turns, asked, force)
            except FileNotFoundError:  # another shard has just written it, and cleared this away
                if (report := self._done(asked) or {}) == {}:
                    raise
        shutil.rmtree(place, ignore_errors=True)
        return report

    def _read(self, work: AnnotationWork, turns: index.Index, mine: range, processes: int) -> None:
        def of(batch: int) -> int:
            first, end = work.bounds(batch, turns.turns)
            return end - first

        missing = [batch for batch in mine if not work.done(batch, turns.turns)]
        with meter("annotation", sum(map(of, mine))) as progress:
            if before := sum(map(of, mine)) - sum(map(of, missing)):
                log.info("%d turns were read before", before)
                progress.resume(before)
            batches.read_all(work, missing, processes, progress)

    def _write(self, work: AnnotationWork, turns: index.Index, asked: str, force: bool) -> dict[str, Any]:
        """Write the output and, before it takes its place, the report that says it is whole."""
        place = work.out.parent
        posteriors, made = place / "posteriors.f4", place / "out"
        batches.join(work, -(-turns.turns // work.size), posteriors)
        shutil.rmtree(made, ignore_errors=True)
        made.unlink(missing_ok=True)
        with (
            heartbeat("writing rows"),
            added.ReadingLookup.opened(posteriors, self.space, self.belief, self.prefix) as reader,
        ):
            Output(self.source, turns, reader, made).write()
        kept = self.belief.kept
        report = {
            "schema": SCHEMA,
            "asked": asked,
            "input": {"name": self.source.path.name, "sha256": digest_of(self.source.path)},
            "output": {"name": self.out.name, "sha256": digest_of(made)},
            "policy": self.policy.uri,
            "digest": self.policy.digest,
            "corpus": self.corpus,
            "labels": list(self.space.labels),
            "columns": {
                role: v
                for role in ("turns", "text", "speaker", "dialogue", "turn", "time")
                if (v := getattr(self.source.columns, role))
            },
            "calibrated": bool(self.belief.source),
            "evaluation": self.belief.source,
            "temperature": self.belief.temperature,
            "threshold": self.belief.threshold,
            "held out": kept.model_dump(exclude={"threshold"}) if kept else None,
            "dialogues": turns.dialogues,
            "turns": turns.turns,
            "kept": reader.kept,
            "abstained": reader.abstained,
        }
        self._check_free(force)
        partial = place / "report.json"
        partial.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.report)
        if made.is_dir() and self.out.exists():
            old = place / "old"
            shutil.rmtree(old, ignore_errors=True)
            self.out.rename(old)
        os.replace(made, self.out)
        return report

    def _done(self, asked: str) -> dict[str, Any] | None:
        """The report of the same job, if its output is there as it was written."""
        try:
            report = json.loads(self.report.read_bytes())
            same = report["asked"] == asked and report["output"]["sha256"] == digest_of(self.out)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return report if same and self.out.exists() else None

    def _check_free(self, force: bool) -> None:
        """Raises UserError if something is there that is not to be replaced."""
        if self.source.path.resolve() == self.out.resolve():
            raise UserError("would replace what it reads", where=str(self.out), fix="write to another place")
        if not (self.out.exists() or self.out.is_symlink()):
            return
        if not force:
            fix = "choose another place, or replace it with --force"
            raise UserError("is already there, and not from this command", where=str(self.out), fix=fix)
        if self.out.is_dir() and not self.report.is_file():
            raise UserError("is a directory that was not annotated", where=str(self.out), fix="remove it yourself")

    def _taken(self) -> list[str]:
        """Names that rows must not have."""
        under = "meta." if self.source.tables[0].source.form == "convokit" else ""
        return [f"{under}{name}" for name in added.names(self.space, self.prefix)]

    @contextmanager
    def _place(self, place: Path) -> Iterator[None]:
        """A directory beside the output for what is being done; it goes if nothing was read in it yet."""
        try:
            (place / "parts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "choose a place that can be written"
            raise UserError(str(error.strerror), where=str(self.out), fix=fix) from None
        try:
            yield
        except BaseException:
            with suppress(OSError):  # what others are doing there stays
                (place / "parts").rmdir()
                place.rmdir()
            raise


def _word(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
