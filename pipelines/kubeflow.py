"""Kubeflow Pipelines as a client sees it: the connection, who we are there, and listings page by page."""

from __future__ import annotations

import json
import os
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.errors import Exit, UserError
from selfemo.logs import printable, shown
from selfemo.unexpected import told

TOKEN = "SELFEMO_KFP_TOKEN"
"""Variable that holds the bearer token, where one is needed."""
COOKIE = "SELFEMO_KFP_COOKIE"
"""The same for a session of a login page, as the browser has it: ``oauth2_proxy_kubeflow=...``."""
USER = "SELFEMO_KFP_USER"
"""Who we are where nothing in front of Kubeflow asks, as through a port-forward: sent as ``kubeflow-userid``."""
CA = "SELFEMO_KFP_CA"
"""File with the certificates of the authority that signed the host's, where the system does not know it."""
CAS = (CA, "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that may name it, the first that is set: other people's programs read the others."""
SECONDS = (6, 60)
"""To connect, which is tried four times, and for an answer."""
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Kubeflow's own name for the variable that says where a pod's token for it is mounted."""


def say(line: str) -> None:
    """Lines for the person who waits; what others have written in them cannot write to the terminal."""
    print(shown(line), file=sys.stderr, flush=True)


def ended(work: Callable[[], Exit], interrupted: str) -> Exit:
    """Do the work of a program for a person; its exit code, and on stderr why it did not come to its end.

    Args:
        work: All of it.
        interrupted: What Ctrl-C does not end.
    """
    try:
        return work()
    except KeyboardInterrupt:
        say(f"selfemo: {interrupted}")
        return Exit.INTERRUPTED
    except Exception as error:  # the last resort: whatever it is, it is said in a line
        words, code = told(error)
        say(words)
        return code


def check(config: Config) -> None:
    """Whether a cluster can run this.

    Raises:
        UserError: If it names servers of this machine.
    """
    if not (config.store.root or "").startswith("s3://"):
        raise UserError(
            "a cluster cannot reach the embedded store", where="store.root", fix="set store.root to s3://bucket/prefix"
        )
    if not (config.mlflow.tracking_uri or "").startswith(("http://", "https://")):
        raise UserError(
            "a cluster cannot reach the embedded MLflow", where="mlflow.tracking_uri", fix="set it to the server's URL"
        )


def token() -> str | None:
    """The bearer token: given, or that of a pod's service account for Kubeflow's audience; None is none."""
    if given := os.environ.get(TOKEN):
        return given
    file = os.environ.get(TOKEN_FILE)
    return Path(file).read_text(encoding="utf-8").strip() if file and Path(file).is_file() else None


def connect(config: Config) -> Any:
    """A client of Kubeflow Pipelines, of the configuration's namespace where Kubeflow has several users.

    Raises:
        UserError: If there is none at the host, or it refuses us, or a cluster cannot run the configuration.
    """
    check(config)
    warnings.filterwarnings("ignore")
    authority = authorities()
    with spoken(config):
        from kfp import Client

        client = Client(
            host=config.cluster.host or None,
            namespace=config.cluster.namespace,
            existing_token=token(),
            cookies=os.environ.get(COOKIE),
            ssl_ca_cert=authority,
        )
        _bounded(client._run_api.api_client.rest_client)
        if user := os.environ.get(USER):
            client._experiment_api.api_client.set_default_header("kubeflow-userid", user)
        # The client is made without asking anything, and its own look at the server's health tries for half a minute.
        several = client._healthz_api.healthz_service_get_healthz().multi_user
        if not several:
            client._context_setting["namespace"] = ""  # it has no namespaces, and refuses to be told one
        client.list_experiments(page_size=1, namespace=config.cluster.namespace if several else "")
        return client


def authorities() -> str | None:
    """The file of certificates that Kubeflow's is checked against; None is the system's own.

    Raises:
        UserError: If it holds none.
    """
    for name in CAS:
        file = os.environ.get(name)
        if not file or (name != CA and not Path(file).is_file()):
            continue
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            why = "no such file" if not Path(file).is_file() else f"no certificates: {error}"
            raise UserError(why, where=f"{name}={file}", fix="name a file of PEM certificates") from None
        return file
    return None


def _bounded(rest: Any) -> None:
    """Give every request of the client a time after which it fails: it has none of its own."""
    request = rest.request

    def within(*given: Any, **named: Any) -> Any:
        return request(*given, **{**named, "_request_timeout": named.get("_request_timeout") or SECONDS})

    rest.request = within


@contextmanager
def spoken(config: Config) -> Iterator[None]:
    """What Kubeflow, its client and the network have to say against it, in one line.

    Raises:
        UserError: In place of whatever they raise.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client lets through what its own libraries raise, and raises plain ones itself
        words, fix = _explained(error)
        raise UserError(words, where=f"cluster.host: {config.cluster.host or '(none)'}", fix=fix) from error


def _explained(error: Exception) -> tuple[str, str]:
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import MaxRetryError, SSLError

    who = f"{TOKEN}, {COOKIE} or {USER}"
    if isinstance(error, ApiException) and error.status:
        fixes = {
            400: "see what it says; is Kubeflow Pipelines 2.17 or later?",
            401: f"say who you are: {who} (docs/operations.md, Run)",
            403: f"give this account the right in namespace cluster.namespace, or be another one: {who}",
            404: "is the URL that of Kubeflow Pipelines, such as https://HOST/pipeline?",
            412: "if the experiment is archived, restore it, or set cluster.experiment",
        }
        words = f"Kubeflow Pipelines says no ({error.status}): {_said(error)}"
        return words, fixes.get(error.status, f"check the URL, and {who} (docs/operations.md, Run)")
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    text = printable(f"{type(reason).__name__}: {reason}")[:300]
    if isinstance(reason, SSLError) or "CERTIFICATE" in text:
        fix = f"if its certificate is of an authority of your own: export {CA}=FILE, with its certificates in PEM"
        return f"Kubeflow Pipelines cannot be trusted: {text}", fix
    if isinstance(error, MaxRetryError):
        return f"Kubeflow Pipelines does not answer: {text}", "check the URL, and whether a port-forward is needed"
    return f"Kubeflow Pipelines cannot be used: {text}", f"check the URL, and {who} (docs/operations.md, Run)"


def _said(error: Any) -> str:
    """The server's own words, of an answer in JSON, in text or in HTML."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        row = json.loads(body)
        body = str(row.get("message") or row.get("error") or row) if isinstance(row, dict) else body
    except (ValueError, RecursionError):
        if body.lstrip().startswith("<"):
            body = f"{error.reason}; a page came in place of an answer: a login in front of Kubeflow?"
    return printable(" ".join((body or str(error.reason)).split()))[:600]


def ask(client: Any, path: str) -> dict[str, Any] | None:
    """An answer of Kubeflow's API that its client has no method for; None if there is no such path, or not for us.

    Args:
        client: A kfp.Client, which knows how to say who we are.
        path: Such as ``/apis/v1beta1/runs/ID``.
    """
    from kfp_server_api.exceptions import ApiException

    try:
        answer, _, _ = client._run_api.api_client.call_api(
            path, "GET", response_type="object", auth_settings=["Bearer"], _request_timeout=60
        )
    except ApiException as error:
        if error.status in (400, 401, 403, 404, 405, 501):
            return None
        raise
    return answer if isinstance(answer, dict) else None


def text(client: Any, path: str) -> str:
    """Text that Kubeflow's API has; empty if there is none there, or not for us.

    Args:
        client: A kfp.Client.
        path: Such as ``/apis/v1alpha1/runs/ID/nodes/POD/log``.
    """
    try:
        answer, _, _ = client._run_api.api_client.call_api(
            path, "GET", response_type="str", auth_settings=["Bearer"], _request_timeout=(6, 20)
        )
    except Exception:  # of the client's own libraries, whatever they are: we do without
        return ""
    return str(answer or "")


def listed(method: Callable[..., Any], what: str, **given: Any) -> Iterator[Any]:
    """Everything of a listing, page by page.

    Args:
        method: Of the client, that lists.
        what: Field of its answers that holds the items.
        given: To the method.
    """
    page = ""
    while True:
        answer = method(page_token=page, page_size=100, **given)
        yield from getattr(answer, what) or []
        page = answer.next_page_token or ""
        if not page:
            return


def named(name: str) -> str:
    """A filter for a listing: those of a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": name}]})
