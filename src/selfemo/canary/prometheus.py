"""How many requests each of the two has answered, by Prometheus' HTTP API.

Counted are the series of `selfemo serve`, or those of vLLM where it serves by itself: both are there under names of
their own, and a series that is not there counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from selfemo.canary.rule import Traffic
from selfemo.canary.web import called
from selfemo.config.canary import Server
from selfemo.errors import UserError
from selfemo.logs import printable

COUNTED = (
    "sum by ({label}) ((increase({metric}[{window}s])"
    " + (min_over_time({metric}[{window}s]) unless ({metric} offset {window}s))) or increase({metric}[{window}s]))"
)
"""What a counter rose by. ``increase`` alone leaves out what a series has when it is first seen: the errors of a pod's
first half minute, say. Of a series that was not there when the window began, that counts as well."""
PATHS = 'path=~"/v1/(chat/completions|emotions)"'
REQUESTS = (f"selfemo_requests_total{{{{{{series}}, {PATHS}}}}}", 'http_requests_total{{{series}, handler=~"/v1/.+"}}')
SECONDS = (
    f"selfemo_request_seconds_bucket{{{{{{series}}, {PATHS}}}}}",
    "vllm:e2e_request_latency_seconds_bucket{{{series}}}",
)


def traffic(prometheus: str, server: Server, window: int) -> Traffic:
    """What one of the two has answered.

    Args:
        prometheus: Its address.
        server: Which of the two.
        window: Seconds back from now.

    Raises:
        UserError: If Prometheus does not answer, or not as it should.
    """
    by_status = _asked(prometheus, query(REQUESTS, "status", server, window), "status")
    by_bound = _asked(prometheus, query(SECONDS, "le", server, window), "le")
    errors = sum(count for status, count in by_status.items() if status.startswith("5"))
    seconds = {float(le): round(count) for le, count in by_bound.items()}
    return Traffic(round(sum(by_status.values())), round(errors), _rising(seconds))


def query(metrics: tuple[str, ...], label: str, server: Server, window: int) -> str:
    """What counts the first of some metrics that a server has.

    Args:
        metrics: :data:`REQUESTS` or :data:`SECONDS`.
        label: By which they are counted.
        server: Whose.
        window: Seconds back from now.
    """
    named = (metric.format(series=server.series) for metric in metrics)
    return " or ".join(COUNTED.format(metric=metric, label=label, window=window) for metric in named)


def _asked(prometheus: str, expression: str, label: str) -> dict[str, float]:
    """Values of an instant query, by a label."""
    answer = called(f"{prometheus}/api/v1/query", form={"query": expression}, where="canary.prometheus")
    fix = "is canary.prometheus the address of Prometheus? and are the series of both servers PromQL's?"
    try:
        body: Any = answer.json()
        if body["status"] != "success":
            said = f"Prometheus refuses the query: {printable(str(body['error']))[:300]}"
            raise UserError(said, where=expression[:300], fix=fix)
        rows = ((str(row["metric"][label]), float(row["value"][1])) for row in body["data"]["result"])
        return {key: value for key, value in rows if math.isfinite(value)}
    except (ValueError, KeyError, TypeError, IndexError):
        said = f"answers {answer.status}, and not as Prometheus does"
        raise UserError(said, where=prometheus, fix=fix) from None


def _rising(counts: Mapping[float, int]) -> dict[float, int]:
    """Counts up to each bound, none below the one before: each was extrapolated and rounded by itself."""
    most, made = 0, {}
    for le in sorted(counts):
        most = made[le] = max(most, counts[le])
    return made
