"""Addresses in a configuration or the environment: what would be misunderstood later is refused when it is read."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def store_root(uri: str) -> str:
    """An address under which artifacts lie.

    Raises:
        ValueError: If it is none, or would lead somewhere else than it seems to.
    """
    form = "write s3://bucket/prefix or file:///absolute/directory"
    parts = _parts(uri)
    if "$" in uri:
        raise ValueError(f"variables are not expanded here: write it out, {form.removeprefix('write ')}")
    if "?" in uri or "#" in uri:
        raise ValueError(f"'?' and '#' have no meaning here: {form}")
    if uri.startswith("s3://"):
        if not parts.netloc:
            raise ValueError("names no bucket: write s3://bucket/prefix")
    elif uri.startswith("file://"):
        local_path(uri)
    else:
        raise ValueError(f"cannot store at {uri!r}: {form}")
    return uri


def local_path(uri: str) -> str:
    """The path of a ``file://`` address.

    Raises:
        ValueError: If it names a host, as ``file://a/b`` does, or a home directory, which nobody looks up.
    """
    parts = _parts(uri)
    if parts.netloc:
        raise ValueError(f"file://{parts.netloc} names a host: write file:///absolute/directory, with three slashes")
    if not parts.path.startswith("/") or parts.path == "/":
        raise ValueError("names no directory: write file:///absolute/directory")
    if parts.path.startswith("/~"):
        raise ValueError("~ is not looked up in an address: write file:///absolute/directory")
    return parts.path


def web(uri: str) -> str:
    """An address of a web server.

    Raises:
        ValueError: If it is none, such as a host without a scheme.
    """
    parts = _parts(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, uri)):
        raise ValueError(f"{uri!r} is no address of a server: write it as https://HOST or http://HOST:PORT")
    return uri


def tracking(uri: str) -> str:
    """An address of an MLflow server or database.

    Raises:
        ValueError: If it is none that keeps runs and versions; MLflow makes a database of its own of an empty one.
    """
    scheme = _parts(uri).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return web(uri)
    if scheme == "sqlite" and not uri.partition(":")[2].startswith("///"):
        raise ValueError(f"{uri!r} names no file: write sqlite:////absolute/file.db")
    if scheme not in DATABASES:
        what = "is empty" if not uri.strip() else f"{uri!r} is no MLflow server"
        raise ValueError(f"{what}: write https://HOST or sqlite:////absolute/file.db")
    return uri


def _parts(uri: str) -> SplitResult:
    if uri != uri.strip():
        raise ValueError("begins or ends with a space")
    try:
        parts = urlsplit(uri)
        _ = parts.port  # which may be no number
        return parts
    except ValueError as error:  # such as http://[x
        raise ValueError(f"{uri!r} is no address: {error}") from None
