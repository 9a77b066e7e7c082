"""Masking of names and places by a token classifier of the user's: any of transformers' with such labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo.data.needs import needed
from selfemo.data.redaction import MASK, Masked, Redactor
from selfemo.errors import UserError

KINDS = {
    **dict.fromkeys(("PER", "PERS", "PERSON", "NAME", "FIRSTNAME", "LASTNAME", "GIVENNAME", "SURNAME", "PSN"), "NAME"),
    **dict.fromkeys(("LOC", "LOCATION", "GPE", "FAC", "ADDRESS", "STREET", "CITY", "ZIPCODE"), "ADDRESS"),
    **dict.fromkeys(("PHONE", "TELEPHONENUM", "PHONENUMBER", "SSN", "IDCARDNUM", "CREDITCARDNUMBER"), "NUMBER"),
    "EMAIL": "EMAIL",
    "PASSWORD": "KEY",
}
"""What a model's labels, without ``B-`` and ``I-``, are masked as; others are left."""
BATCH = 32
STRIDE = 32
"""Tokens that two pieces of a long text share."""


@dataclass(frozen=True)
class Model:
    """Masks with other finders first, then with a model.

    Attributes:
        pipeline: transformers' for token classification.
        first: What masks before it.
    """

    pipeline: Any
    first: Redactor

    @classmethod
    def load(cls, directory: Path, first: Redactor) -> Model:
        """From a directory with a model in safetensors and its tokenizer; nothing is fetched, no code of it runs.

        Raises:
            UserError: If there is none, or its labels are of nobody.
        """
        where, fix = str(directory), "give a directory with config.json, model.safetensors and a tokenizer"
        if not (directory / "config.json").is_file():
            raise UserError("holds no model", where=where, fix=fix)
        transformers, safetensors = needed("transformers", "policy"), needed("safetensors", "policy")
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **local)
            model = transformers.AutoModelForTokenClassification.from_pretrained(where, use_safetensors=True, **local)
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            first_line = str(error).strip().split("\n", 1)[0]
            raise UserError(f"cannot be loaded: {first_line}", where=where, fix=fix) from None
        labels = {str(label) for label in model.config.id2label.values()}
        if not any(_kind(label) for label in labels):
            raise UserError(
                f"its labels are {', '.join(sorted(labels)[:8])}", where=where, fix="give one with PER or LOC"
            )
        longest = int(getattr(model.config, "max_position_embeddings", 512))
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
        more = {"stride": min(STRIDE, tokenizer.model_max_length // 4)} if tokenizer.is_fast else {}
        pipeline = transformers.pipeline(
            "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", **more
        )
        return cls(pipeline, first)

    def __call__(self, texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
        """See :class:`selfemo.data.redaction.Redactor`."""
        before = self.first(texts, names)
        at = [number for number, text in enumerate(before.texts) if text.strip()]
        masked, counts = list(before.texts), Counter(before.counts)
        found = self.pipeline([before.texts[number] for number in at], batch_size=BATCH) if at else []
        for number, entities in zip(at, found, strict=True):
            masked[number] = _masked(before.texts[number], entities, counts)
        return Masked(masked, counts)


def _kind(label: str) -> str | None:
    bare = label.split("-", 1)[1] if label[:2] in ("B-", "I-", "E-", "S-", "L-", "U-") else label
    return KINDS.get(bare.upper().replace("_", ""))


def _masked(text: str, entities: Sequence[dict[str, Any]], counts: Counter[str]) -> str:
    """A text with what a model found replaced; what is masked already stays."""
    taken = [match.span() for match in MASK.finditer(text)]
    for entity in sorted(entities, key=lambda entity: -int(entity["start"])):
        start, end, kind = int(entity["start"]), int(entity["end"]), _kind(str(entity["entity_group"]))
        while start < end and text[start].isspace():
            start += 1
        if kind is None or start >= end or any(start < stop and begin < end for begin, stop in taken):
            continue
        text = f"{text[:start]}[{kind}]{text[end:]}"
        taken = [span for span in taken if span[1] <= start]
        counts[kind] += 1
    return text
