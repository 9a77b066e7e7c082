"""MLflow's client, made to wait for a server that is away for a while, and to tell "there is none" from "you may not".

MLflow's own retries are turned off here: they send a request again without looking whether the first one arrived, which
makes two runs or two versions of one. Here what is sent again is chosen by who asks (:meth:`Client.patiently`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selfemo.errors import UserError
from selfemo.logs import printable

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 180.0
"""Seconds that a call waits for a server that is away: a pod that is moved to another node is back before that."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
SECONDS_A_REQUEST = "30"
TRANSIENT = (408, 429, 500, 502, 503, 504)
OTHERS = ("botocore", "boto3", "google", "mlflow", "requests", "s3transfer", "sqlalchemy", "urllib3")
"""Packages whose exceptions are the server's or the network's doing (google: protobuf, which parses answers); any
other is a defect of ours."""
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow says that there is no such version, alias (the second, in MLflow 3) or model."""
NO_JSON = "API request to endpoint was successful"
"""How MLflow's client begins to say that a page came back in place of an answer: a login page, mostly."""


class MlflowRefused(UserError):
    """The server, or something in front of it, said no: asking again does not help.

    Attributes:
        code: MLflow's error code, such as ``RESOURCE_DOES_NOT_EXIST``; empty where it was not MLflow that answered.
    """

    code = ""


class Unreachable(UserError):
    """The server did not answer, or not usefully, for as long as was waited."""


class Client:
    """An ``MlflowClient`` each of whose methods waits for a server that is away.

    Args:
        uri: Of the server, or of a database file.
        patience: Seconds to wait before giving up; 0 tries once.
        sleep: Waits.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        uri: str,
        patience: float = PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uri, self.patience, self._sleep, self._clock = uri, patience, sleep, clock
        parts = urlsplit(uri)
        self.shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else uri

    @cached_property
    def mlflow(self) -> Any:
        """MLflow's own client, which tries once."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", SECONDS_A_REQUEST)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self.patiently(lambda mlflow: getattr(mlflow, name)(*arguments, **named))

        return call

    def patiently(self, work: Callable[[Any], T]) -> T:
        """Do some work, and again from its beginning while the server is away.

        Args:
            work: Given MLflow's own client. It may have been done, in part or whole, when it is done again: what must
                not happen twice looks first whether it has happened.

        Raises:
            MlflowRefused: If the server says no.
            Unreachable: If it is still away when the patience is at its end.
        """
        began, pause = self._clock(), FIRST_PAUSE
        waited = False
        while True:
            try:
                done = work(self.mlflow)
            except Exception as error:
                if not _foreign(error):
                    raise
                if not self._transient(error):
                    raise self._refused(error) from error
                left = self.patience - (self._clock() - began)
                if left <= 0:
                    raise Unreachable(
                        f"MLflow does not answer: {_words(error)}",
                        where=self.shown,
                        fix="see whether it runs, what its log says (of an embedded one: services/mlflow.log), "
                        "and mlflow.tracking_uri; then give the same command again",
                    ) from error
                if not waited:
                    log.warning("MLflow at %s: trying again, for %.0f s: %s", self.shown, left, _words(error, 300))
                waited = True
                self._sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if waited:
                    log.info("MLflow at %s answers again", self.shown)
                return done

    def _transient(self, error: Exception) -> bool:
        """Whether the same request may succeed a little later."""
        import requests
        from mlflow.exceptions import MlflowException

        if not self.uri.startswith(("http://", "https://")):
            return getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE"  # a database that is locked
        for cause in (error, error.__cause__, error.__context__):
            if isinstance(cause, requests.HTTPError) and cause.response is not None:
                return cause.response.status_code in TRANSIENT
            if isinstance(cause, requests.exceptions.SSLError):
                return False
            if isinstance(cause, (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout)):
                return True
            if isinstance(cause, requests.exceptions.ChunkedEncodingError):
                return True
        if isinstance(error, MlflowException):
            return error.get_http_status_code() in TRANSIENT and not str(error.message).startswith(NO_JSON)
        return False

    def _refused(self, error: Exception) -> MlflowRefused:
        from mlflow.exceptions import MlflowException, RestException

        fix = "is mlflow.tracking_uri an MLflow server, and which version?"
        code = str(error.error_code) if isinstance(error, MlflowException) else ""
        if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
            fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        elif code == "PERMISSION_DENIED":
            fix = "give this account the right, or use another one; what is not there is refused as well"
        elif str(error).startswith(NO_JSON):
            fix = (
                "a page came in place of an answer: a login in front of MLflow? give it credentials, or another address"
            )
        served = self.uri.startswith(("http://", "https://"))
        status = f" ({error.get_http_status_code()})" if served and isinstance(error, MlflowException) else ""
        said = MlflowRefused(f"MLflow says no{status}: {_words(error)}", where=self.shown, fix=fix)
        opened = "mlflow" in self.__dict__  # a place that cannot be opened says nothing of what is in it
        if opened and (isinstance(error, RestException) or not served):
            said.code = code
        return said


def _foreign(error: Exception) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.split(".")[0] in OTHERS


def _words(error: Exception, most: int = 600) -> str:
    return printable(" ".join(str(error).split()))[:most]


def quoted(value: str) -> str:
    """A value as a filter of MLflow takes it, which knows no escapes.

    Raises:
        UserError: If it holds both kinds of quotes.
    """
    for quote in "'\"":
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError("holds both kinds of quotes, which MLflow cannot search for", where=value, fix="use one kind")


def pages(search: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    """All that a search of MLflow finds.

    Args:
        search: Method of a client.
        arguments: Of it.
        options: Of it.
    """
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


Point = tuple[str, float, int, int]
"""A metric as MLflow takes it: name, value, time in ms, step. Sent twice, it counts once."""


def points(rows: Iterable[tuple[int, Mapping[str, float]]]) -> list[Point]:
    """Metrics over steps one by one, of this moment."""
    now = int(time.time() * 1000)
    return [
        (key, float(value), now, step)
        for step, values in rows
        for key, value in values.items()
        if isinstance(value, (int, float))
    ]
