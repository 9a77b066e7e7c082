"""Masking of what tells who somebody is: names, numbers, addresses, keys. What is masked is counted, never kept.

Found by libraries that need no download: telephone numbers by phonenumbers (Google's), cards and bank accounts by
python-stdnum (whose check digits have to fit), postal addresses of the US, Canada and the UK by pyap2, keys and tokens
by detect-secrets (Yelp's). E-mail and IP addresses have a plain form and are found by it. Names: those that are given,
such as the speakers'. Other names take a model: :mod:`selfemo.data.redaction_model`, or :class:`Command`.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import regex

from selfemo.data.needs import needed
from selfemo.data.scripts import WITHIN_WORD
from selfemo.errors import UserError

KINDS = ("NAME", "NUMBER", "ADDRESS", "EMAIL", "KEY")
"""What the built-in finders mask; a command of the user's may write others."""

_EMAIL = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IP = regex.compile(
    rf"(?V1)(?<!{WITHIN_WORD})(?<![.:])(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}|[0-9a-fA-F]{{0,4}}(?::[0-9a-fA-F]{{0,4}}){{2,7}})(?!{WITHIN_WORD}|:)"
)
_DIGITS = regex.compile(rf"(?V1)(?<!{WITHIN_WORD})[A-Z]{{0,2}}\d(?:[ -]?[A-Z0-9]){{7,33}}(?!{WITHIN_WORD})")
_LONG = regex.compile(rf"(?V1)(?<!{WITHIN_WORD})(?<![.,])\d(?:[ -]?\d){{6,}}+")
_WITHIN_WORD = regex.compile(f"(?V1){WITHIN_WORD}")
_TOKEN = re.compile(r"[^\s\"'<>()\[\]{},;]{8,4096}")
_TOLD = re.compile(
    r"\b(?:password|passwort|passcode|passphrase|pwd|pin|secret|api[ _-]?key|access[ _-]?token)\b"
    r"(?:\s*[:=]\s*|\s+(?:is|ist)\s+(?=\S*\d))(\S{3,100})",
    re.IGNORECASE,
)
MASK = re.compile(r"\[([A-Z]{2,20})\]")
_KEYS = (
    "aws.AWSKeyDetector",
    "azure_storage_key.AzureStorageKeyDetector",
    "basic_auth.BasicAuthDetector",
    "discord.DiscordBotTokenDetector",
    "github_token.GitHubTokenDetector",
    "gitlab_token.GitLabTokenDetector",
    "jwt.JwtTokenDetector",
    "mailchimp.MailchimpDetector",
    "npm.NpmDetector",
    "openai.OpenAIDetector",
    "private_key.PrivateKeyDetector",
    "pypi_token.PypiTokenDetector",
    "sendgrid.SendGridDetector",
    "slack.SlackDetector",
    "square_oauth.SquareOAuthDetector",
    "stripe.StripeDetector",
    "telegram_token.TelegramBotTokenDetector",
    "twilio.TwilioKeyDetector",
)
_ENTROPY = 3.8
"""Bits a character from which on a long word of letters and digits is a key rather than a word."""
_PIECE, _SHARED = 1000, 200
"""Characters that pyap2 is given at once, since its time grows with their square; and how many two pieces share."""
_COUNTRIES = {"US", "CA", "GB"}


@dataclass(frozen=True)
class Masked:
    """Texts with masks in place of what was found.

    Attributes:
        texts: As many as were given, in order.
        counts: Masks by kind, such as ``{"EMAIL": 2}``.
    """

    texts: list[str]
    counts: Counter[str] = field(default_factory=Counter)


class Redactor(Protocol):
    """Masks texts: :class:`Patterns`, :class:`Command`."""

    def __call__(self, texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
        """Mask texts.

        Args:
            texts: To be masked.
            names: For each text, names that are known to be of persons.
        """
        ...


@dataclass(frozen=True)
class Patterns:
    """The built-in finders.

    Attributes:
        regions: Countries (ISO 3166) whose national telephone numbers are known; international ones always are.
    """

    regions: tuple[str, ...] = ("US", "GB")

    def ready(self) -> Patterns:
        """Itself, once it is sure that its libraries are there and know the regions.

        Raises:
            UserError: Otherwise.
        """
        known = needed("phonenumbers").SUPPORTED_REGIONS
        if unknown := [region for region in self.regions if region not in known]:
            raise UserError(f"no country {unknown[0]!r}", where="--redact-region", fix="write two letters, such as DE")
        _plugins(), needed("pyap"), needed("stdnum.iban")
        return self

    def __call__(self, texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
        """See :class:`Redactor`."""
        known = names or [()] * len(texts)
        counts: Counter[str] = Counter()
        return Masked([self._one(text, n, counts) for text, n in zip(texts, known, strict=True)], counts)

    def _one(self, text: str, names: Collection[str], counts: Counter[str]) -> str:
        found: list[tuple[int, int, str]] = []
        for finder in (_keys, _emails, _addresses(self.regions), _numbers(self.regions), _names(names)):
            for new in finder(text):  # of two that overlap, the first has it
                if not any(new[0] < end and start < new[1] for start, end, _ in found):
                    found.append(new)
        for start, end, kind in sorted(found, reverse=True):
            text = f"{text[:start]}[{kind}]{text[end:]}"
            counts[kind] += 1
        return text


@dataclass(frozen=True)
class Command:
    """A command of the user's: a JSON string a line in, as many out, with masks such as ``[NAME]`` in them.

    Attributes:
        command: As a shell would take it; it is started without one.
        timeout: Seconds for one batch of texts.
    """

    command: str
    timeout: float = 3600.0

    def __call__(self, texts: Sequence[str], names: Sequence[Collection[str]] = ()) -> Masked:
        """See :class:`Redactor`; the command is not told names.

        Raises:
            UserError: If the command fails, or writes anything but a JSON string for each that it was given.
        """
        if not texts:
            return Masked([])
        where = "--redact-command"
        fix = "read a JSON string a line from standard input, and write one for each"
        try:
            # Files, not pipes: a command may read everything before it writes, or the other way round.
            with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
                given.writelines(json.dumps(text, ensure_ascii=False).encode() + b"\n" for text in texts)
                given.seek(0)
                done = subprocess.run(
                    shlex.split(self.command),
                    stdin=given,
                    stdout=written,
                    stderr=subprocess.DEVNULL,
                    timeout=self.timeout,
                )
                written.seek(0)
                lines = written.read().decode("utf-8").split("\n")
        except (OSError, ValueError, IndexError) as error:
            problem = error.strerror if isinstance(error, OSError) else "is no command, or writes no UTF-8"
            raise UserError(f"{self.command[:80]}: {problem}", where=where, fix=fix) from None
        except subprocess.TimeoutExpired:
            raise UserError(f"ran longer than {self.timeout:.0f} s", where=where, fix="mask fewer texts") from None
        if done.returncode:
            raise UserError(f"{self.command[:80]}: ended with {done.returncode}", where=where, fix=fix)
        if lines and not lines[-1]:
            lines.pop()
        if len(lines) != len(texts):
            raise UserError(f"wrote {len(lines)} lines for {len(texts)}", where=where, fix=fix)
        masked, counts = [], Counter[str]()
        for number, (line, text) in enumerate(zip(lines, texts, strict=True), 1):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, str):
                raise UserError(f"line {number} is no JSON string", where=where, fix=fix)
            masked.append(found)
            counts += Counter(MASK.findall(found)) - Counter(MASK.findall(text))
        return Masked(masked, counts)


Finder = Callable[[str], Iterator[tuple[int, int, str]]]


def _emails(text: str) -> Iterator[tuple[int, int, str]]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield match.start(), match.end(), "EMAIL"


def _names(names: Collection[str]) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int, str]]:
        parts = {part for name in names for part in (name, *name.split()) if len(part) > 1}
        for part in sorted(parts, key=lambda part: (-len(part), part)):
            at = text.find(part)  # a pattern for each name of each dialogue would take longer than the search
            while at >= 0:
                end = at + len(part)
                if any(_WITHIN_WORD.match(near) for near in (text[at - 1 : at], text[end : end + 1])):
                    end = at + 1
                else:
                    yield at, end, "NAME"
                at = text.find(part, end)

    return find


def _addresses(regions: Sequence[str]) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int, str]]:
        for match in _IP.finditer(text):
            try:
                ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if any(c.isdigit() for c in match.group()):  # "::" and "be::" are addresses to a machine alone
                yield match.start(), match.end(), "ADDRESS"
        for at in range(0, len(text), _PIECE - _SHARED):
            piece = text[at : at + _PIECE]
            for country in _COUNTRIES & set(regions) if any(c.isdigit() for c in piece) else ():
                for address in needed("pyap").parse(piece, country=country):
                    whole = piece[address.match_start : address.match_end]
                    start = at + address.match_start + len(whole) - len(whole.lstrip())
                    yield start, start + len(whole.strip()), "ADDRESS"

    return find


def _numbers(regions: Sequence[str]) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int, str]]:
        if sum(c.isdigit() for c in text) < 6:
            return
        luhn, iban, phones = needed("stdnum.luhn"), needed("stdnum.iban"), needed("phonenumbers")
        for match in _DIGITS.finditer(text):
            written = re.sub(r"[ -]", "", match.group())
            if (written.isdigit() and len(written) >= 12 and luhn.is_valid(written)) or iban.is_valid(written):
                yield match.start(), match.end(), "NUMBER"
        for region in (None, *regions):
            for phone in phones.PhoneNumberMatcher(text, region):
                yield phone.start, phone.end, "NUMBER"
        for match in _LONG.finditer(text):  # seven digits or more are an account, an order, a number of insurance
            yield match.start(), match.end(), "NUMBER"

    return find


def _keys(text: str) -> Iterator[tuple[int, int, str]]:
    for match in re.finditer(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", text, re.DOTALL):
        yield match.start(), match.end(), "KEY"
    for match in _TOLD.finditer(text):
        yield match.start(1), match.end(1), "KEY"
    for match in _TOKEN.finditer(text):
        token = match.group().rstrip(".!?:")
        if any(True for plugin in _plugins() for _ in plugin.analyze_string(token)) or _random(token):
            yield match.start(), match.start() + len(token), "KEY"


def _random(token: str) -> bool:
    if len(token) < 20 or not re.fullmatch(r"[\w+/=.~-]+", token, re.ASCII):
        return False
    if not (re.search(r"[A-Za-z]", token) and re.search(r"\d", token)):
        return False
    return bool(_entropy().calculate_shannon_entropy(token) >= _ENTROPY)


@cache
def _plugins() -> list[Any]:
    found = []
    for name in _KEYS:
        module, detector = name.split(".")
        found.append(getattr(needed(f"detect_secrets.plugins.{module}"), detector)())
    return found


@cache
def _entropy() -> Any:
    return needed("detect_secrets.plugins.high_entropy_strings").Base64HighEntropyString()
