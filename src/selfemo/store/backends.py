"""The places that artifacts lie in: directories and S3 buckets, behind the few operations the store needs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import ParseResult, unquote, urlparse

from selfemo.errors import UserError


def parsed(uri: str) -> ParseResult:
    """The parts of an address.

    Raises:
        UserError: If it is none.
    """
    try:
        return urlparse(uri)
    except ValueError as error:  # such as s3://[x
        raise UserError(
            f"not an address: {error}", where=uri, fix="write it as s3://bucket/prefix or file:///directory"
        ) from None


@dataclass(frozen=True)
class Stored:
    """One file of a place: its path relative to the directory that was asked for, its bytes, when it was written."""

    name: str
    size: int
    modified: float


class Backend(Protocol):
    """The few operations that the store asks of a place. Paths are whole URIs."""

    def read(self, uri: str) -> bytes | None:
        """Contents, or None if there is no such file."""
        ...

    def create(self, uri: str, data: bytes) -> bool:
        """Write a new file whole; False, and no change, if it is already there."""
        ...

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        """Replace a file's contents if they are still the old ones; False, and no change, if not."""
        ...

    def age(self, uri: str) -> float | None:
        """Seconds since a file was written, both times told by the place itself; None if there is no such file."""
        ...

    def upload(self, path: Path, uri: str) -> None:
        """Copy a local file there."""
        ...

    def download(self, uri: str, path: Path) -> None:
        """Copy a file from there."""
        ...

    def remove(self, uri: str) -> None:
        """Remove one file, if it is there."""
        ...

    def remove_tree(self, uri: str) -> None:
        """Remove everything under a directory."""
        ...

    def list(self, uri: str) -> Iterator[str]:
        """URIs of all files under a directory."""
        ...

    def scan(self, uri: str) -> Iterator[Stored]:
        """All files under a directory."""
        ...


class LocalBackend:
    """``file://`` directories."""

    @staticmethod
    def path(uri: str) -> Path:
        """The local path of a ``file://`` URI."""
        return Path(unquote(parsed(uri).path))

    def read(self, uri: str) -> bytes | None:
        try:
            return self.path(uri).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, uri: str, data: bytes) -> bool:
        target = self.path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(name, target)  # fails if the target exists, so exactly one writer wins
        except FileExistsError:
            return False
        finally:
            os.unlink(name)
        return True

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        target = self.path(uri)
        with (target.parent / f".tmp-{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read(uri) != old:
                return False
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
            with os.fdopen(descriptor, "wb") as out:
                out.write(new)
                out.flush()
                os.fsync(out.fileno())
            os.replace(name, target)
        return True

    def age(self, uri: str) -> float | None:
        target = self.path(uri)
        try:
            written = target.stat().st_mtime
        except FileNotFoundError:
            return None
        with tempfile.TemporaryFile(dir=target.parent) as now:  # a file system may be another machine's
            return max(0.0, os.fstat(now.fileno()).st_mtime - written)

    def upload(self, path: Path, uri: str) -> None:
        target = self.path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def download(self, uri: str, path: Path) -> None:
        shutil.copyfile(self.path(uri), path)

    def remove(self, uri: str) -> None:
        self.path(uri).unlink(missing_ok=True)

    def remove_tree(self, uri: str) -> None:
        shutil.rmtree(self.path(uri), ignore_errors=True)

    def list(self, uri: str) -> Iterator[str]:
        for path in sorted(self.path(uri).rglob("*")):
            if path.is_file() and not path.name.startswith(".tmp-"):
                yield path.as_uri()

    def scan(self, uri: str) -> Iterator[Stored]:
        root = self.path(uri)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found = path.stat()
                yield Stored(path.relative_to(root).as_posix(), found.st_size, found.st_mtime)


class S3Backend:
    """``s3://`` buckets, through boto3 and its classic transfer manager.

    Args:
        endpoint: Endpoint URL; None is ``AWS_ENDPOINT_URL_S3`` or the provider's own.
        credentials: Access and secret key; None is wherever boto3 finds them.
    """

    def __init__(self, endpoint: str | None = None, credentials: tuple[str, str] | None = None) -> None:
        self.endpoint, self._credentials = endpoint, credentials

    @cached_property
    def client(self) -> Any:
        """One client a process: boto3 clients are thread-safe, and slow to make."""
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=10,
            read_timeout=60,
            # Some three minutes: Kubeflow does not start a step anew whose program failed, and a server that was
            # killed, or moved to another node, is back before that.
            retries={"mode": "adaptive", "max_attempts": 16},
            max_pool_connections=32,
        )
        key, secret = self._credentials or (None, None)
        region = "us-east-1" if self._credentials else None
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
        return session.client("s3", endpoint_url=self.endpoint, config=config)

    @cached_property
    def transfer(self) -> Any:
        """Transfer settings; the CRT client would ignore ``endpoint_url``, so never that one."""
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            multipart_threshold=64 << 20,
            multipart_chunksize=64 << 20,
            max_concurrency=16,
            preferred_transfer_client="classic",
        )

    @staticmethod
    def split(uri: str) -> tuple[str, str]:
        """``s3://bucket/key`` to bucket and key."""
        parts = parsed(uri)
        return parts.netloc, parts.path.lstrip("/")

    @staticmethod
    def _code(error: Any) -> str:
        return str(error.response.get("Error", {}).get("Code"))

    def read(self, uri: str) -> bytes | None:
        from botocore.exceptions import ClientError

        bucket, key = self.split(uri)
        try:
            body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body
        except ClientError as error:
            if self._code(error) in ("NoSuchKey", "404", "NoSuchBucket"):
                return None
            raise

    def create(self, uri: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        bucket, key = self.split(uri)
        try:
            self.client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if self._code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        from botocore.exceptions import ClientError

        bucket, key = self.split(uri)
        try:
            found = self.client.get_object(Bucket=bucket, Key=key)
            if found["Body"].read() != old:
                return False
            self.client.put_object(Bucket=bucket, Key=key, Body=new, IfMatch=found["ETag"])
        except ClientError as error:
            if self._code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "NoSuchKey", "404"):
                return False
            raise
        return True

    def age(self, uri: str) -> float | None:
        from botocore.exceptions import ClientError

        bucket, key = self.split(uri)
        try:
            found = self.client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if self._code(error) in ("NoSuchKey", "404", "NoSuchBucket"):
                return None
            raise
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        written: datetime = found["LastModified"]
        return max(0.0, (now - written).total_seconds())

    def upload(self, path: Path, uri: str) -> None:
        bucket, key = self.split(uri)
        self.client.upload_file(str(path), bucket, key, Config=self.transfer)

    def download(self, uri: str, path: Path) -> None:
        bucket, key = self.split(uri)
        self.client.download_file(bucket, key, str(path), Config=self.transfer)

    def remove(self, uri: str) -> None:
        bucket, key = self.split(uri)
        self.client.delete_object(Bucket=bucket, Key=key)

    def remove_tree(self, uri: str) -> None:
        for found in list(self.list(uri)):
            bucket, key = self.split(found)
            self.client.delete_object(Bucket=bucket, Key=key)

    def list(self, uri: str) -> Iterator[str]:
        bucket, prefix = self.split(uri.rstrip("/") + "/")
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield f"s3://{bucket}/{item['Key']}"

    def scan(self, uri: str) -> Iterator[Stored]:
        bucket, prefix = self.split(uri.rstrip("/") + "/")
        prefix = "" if prefix == "/" else prefix
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield Stored(item["Key"].removeprefix(prefix), item["Size"], item["LastModified"].timestamp())
