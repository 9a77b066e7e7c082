"""Two servers and a Prometheus, on one socket, that answer what a test wants; and weights to compare."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from selfemo.data.dialogue import Dialogue, Utterance, write_jsonl
from selfemo.data.records import Prediction, write_records
from tests.unit.champion.world import World

HELD_OUT = 40


@dataclass
class Side:
    """One of the two.

    Attributes:
        digest: Of what it serves; None answers nothing.
        reads: The emotion that it reads.
        requests, errors, late: What Prometheus has counted; late ones took more than a second, others half of one.
    """

    digest: str | None = None
    reads: str = "joy"
    requests: int = 0
    errors: int = 0
    late: int = 0
    asked: int = 0


@dataclass
class Pair:
    """Both."""

    champion: Side = field(default_factory=Side)
    canary: Side = field(default_factory=Side)
    url: str = ""

    def settings(self, **more: Any) -> str:
        """The section ``canary`` that leads to them, as ``--set`` takes it."""
        sides = {name: {"url": f"{self.url}/{name}", "series": f'job="{name}"'} for name in ("champion", "canary")}
        return "canary=" + json.dumps({"prometheus": self.url, "judged_from": 50, "requests": 100, **sides, **more})

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/v1/query":
            query = parse_qs(body.decode())["query"][0]
            side = self.canary if 'job="canary"' in query else self.champion
            name = "le" if "bucket" in query else "status"
            by_status = {"200": side.requests - side.errors, "500": side.errors}
            fast = side.requests - side.late
            rows = {"0.5": fast, "1.0": fast, "+Inf": side.requests} if name == "le" else by_status
            result = [{"metric": {name: key}, "value": [0, str(value)]} for key, value in rows.items()]
            return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}
        which, _, rest = path.removeprefix("/").partition("/")
        side = self.canary if which == "canary" else self.champion
        if side.digest is None:
            return 503, {"error": "nobody is there"}
        if rest == "v1/models":
            return 200, {"data": [{"id": "m", "digest": side.digest}]}
        side.asked += 1
        return 200, {"turns": [{"turn": 0, "emotions": [side.reads]}]}


@contextmanager
def listening() -> Iterator[Pair]:
    """The pair, behind a real socket."""
    pair = Pair()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, made = pair.answer(self.path, body)
            text = json.dumps(made).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pair.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield pair
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(world: World, place: Path, apart: int) -> tuple[dict[str, str], dict[str, str]]:
    """Two versions with weights and scores, which differ in so many held-out turns: digests by version, and scores."""
    store, registry = world.context.store, world.context.registry
    dialogues = [
        Dialogue(id=f"sample/dev/{n}", corpus="sample", split="dev", turns=(Utterance(speaker="A", text=f"hi {n}"),))
        for n in range(HELD_OUT)
    ]
    place = place / world.model
    prepared = place / "prepared"
    prepared.mkdir(parents=True)
    write_jsonl(prepared / "held_out.jsonl", dialogues)
    data = store.uri(world.model, "prepared")
    store.publish(prepared, data, step="prepare")
    digests, scored = {}, {}
    for n in range(2):
        weights, scores = place / f"weights{n}", place / f"scores{n}"
        weights.mkdir()
        scores.mkdir()
        (weights / "w").write_text(f"{world.model} {n}")
        rows = [
            Prediction(
                corpus="sample",
                dialogue=d.id,
                turn=0,
                gold=("joy",),
                predicted=("anger",) if n and i < apart else ("joy",),
            )
            for i, d in enumerate(dialogues)
        ]
        write_records(scores / "predictions.jsonl.gz", rows)
        to = store.uri(world.model, f"scores{n}")
        store.publish(scores, to, step="score", inputs={"prepared": data})
        uri = store.uri(world.model, f"weights{n}")
        digest = store.publish(weights, uri, step="train").digest
        number = registry.versions.register(uri, registry.round(1), {"selfemo.scores": to, "selfemo.digest": digest})
        digests[number], scored[number] = digest, to
    return digests, scored
