"""Kubeflow Pipelines as a client sees it: the connection, who we are there, and listings page by page."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.errors import UserError
from selfemo.logs import printable, shown

TOKEN = "SELFEMO_KFP_TOKEN"
"""Variable that holds the bearer token, where one is needed."""
COOKIE = "SELFEMO_KFP_COOKIE"
"""The same for a session of a login page, as the browser has it: ``oauth2_proxy_kubeflow=...``."""
USER = "SELFEMO_KFP_USER"
"""Who we are where nothing in front of Kubeflow asks, as through a port-forward: sent as ``kubeflow-userid``."""
CA = "SELFEMO_KFP_CA"
"""File with the certificates of the authority that signed the host's, where the system does not know it."""
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Kubeflow's own name for the variable that says where a pod's token for it is mounted."""


def say(line: str) -> None:
    """Lines for the person who waits; what others have written in them cannot write to the terminal."""
    print(shown(line), file=sys.stderr, flush=True)


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
    from kfp import Client

    authority = os.environ.get(CA)
    if authority and not Path(authority).is_file():
        raise UserError("no such file", where=f"{CA}={authority}", fix="name a file of PEM certificates")
    try:
        client = Client(
            host=config.cluster.host or None,
            namespace=config.cluster.namespace,
            existing_token=token(),
            cookies=os.environ.get(COOKIE),
            ssl_ca_cert=authority,
        )
        if user := os.environ.get(USER):
            client._experiment_api.api_client.set_default_header("kubeflow-userid", user)
        # The client is made without asking anything, and its own look at the server's health tries for half a minute.
        several = client._healthz_api.healthz_service_get_healthz().multi_user
        if not several:
            client._context_setting["namespace"] = ""  # it has no namespaces, and refuses to be told one
        client.list_experiments(page_size=1, namespace=config.cluster.namespace if several else "")
        return client
    except Exception as error:  # the client lets through what its own libraries raise, and raises plain ones itself
        raise UserError(
            f"Kubeflow Pipelines cannot be used: {type(error).__name__}: {printable(str(error))[:300]}",
            where=f"cluster.host: {config.cluster.host or '(none)'}",
            fix=f"check the URL, and {TOKEN}, {COOKIE} or {USER} (docs/operations.md, Run)",
        ) from None


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
