"""Credentials in the address of an MLflow server: they move to where its client looks for them, and are not shown."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from selfemo.errors import UserError


def moved(uri: str) -> str:
    """An address without its credentials, which are from now on in this process's environment.

    Args:
        uri: Of a tracking server; one of a database is left as it is, for its driver.

    Raises:
        UserError: If it is no address.
    """
    try:
        parts = urlsplit(uri)
        user, at, host = parts.netloc.rpartition("@")
    except ValueError as error:  # such as http://[x
        fix = "write it as https://HOST"
        raise UserError(f"not an address: {error}", where="mlflow.tracking_uri", fix=fix) from None
    if not at or parts.scheme not in ("http", "https"):
        return uri
    name, colon, password = user.partition(":")
    if colon:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(name)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    else:
        os.environ["MLFLOW_TRACKING_TOKEN"] = unquote(name)
    return parts._replace(netloc=host).geturl()
