"""S3 buckets as a place that artifacts lie in."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo.store.backends import Stored, parsed
from selfemo.store.s3_errors import CUT_OFF, DENIED, EXISTS, GONE, S3Refused, refused

log = logging.getLogger(__name__)

PATIENCE = 180.0
"""Seconds after its first failure that a request is tried again: Kubeflow does not start a step anew whose program
failed, and a server that was killed, or moved to another node, is back before that."""
TRANSIENT = (408, 429, 500, 502, 503, 504)
_SINCE, _SAID = "selfemo_since", 60.0


class S3Backend:
    """``s3://`` buckets, through boto3 and its classic transfer manager.

    Args:
        endpoint: Endpoint URL; None is ``AWS_ENDPOINT_URL_S3`` or the provider's own.
        credentials: Access and secret key; None is wherever boto3 finds them.
    """

    _sure_of: set[tuple[str | None, str]] = set()  # noqa: RUF012  # shared: what one found out all know
    """Endpoints and buckets that were seen to honour conditions."""

    def __init__(self, endpoint: str | None = None, credentials: tuple[str, str] | None = None) -> None:
        self.endpoint, self._credentials = endpoint, credentials

    @cached_property
    def client(self) -> Any:
        """One client a process: boto3 clients are thread-safe, and slow to make."""
        import boto3
        from botocore.config import Config

        # As many tries as there is time for: `_patience` ends them.
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "adaptive", "max_attempts": 32},
            max_pool_connections=32,
        )
        key, secret = self._credentials or (None, None)
        region = "us-east-1" if self._credentials else None
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
        made = session.client("s3", endpoint_url=self.endpoint, config=config)
        made.meta.events.register("needs-retry.s3", self._patience)
        return made

    def _patience(
        self, request_dict: Any, response: Any = None, caught_exception: Any = None, **_: Any
    ) -> None:  # the names are botocore's
        """Say that a server is waited for, and end that when it has been away for long."""
        status = response[0].status_code if response else 0
        if caught_exception is None and status not in TRANSIENT:
            return
        context, now = request_dict["context"], time.monotonic()
        began, said = context.setdefault(_SINCE, (now, now - _SAID))
        error = refused(caught_exception or f"it answers {status}", self.shown, "", "")
        if now - began >= PATIENCE:
            raise error
        if now - said >= _SAID:
            log.warning("S3 at %s: trying again, for %.0f s: %s", self.shown, PATIENCE - (now - began), error.message)
            context[_SINCE] = (began, now)

    @property
    def shown(self) -> str:
        """Where the server is, for people."""
        return self.endpoint or "AWS_ENDPOINT_URL_S3, or the provider's own"

    @contextmanager
    def _asking(self, what: str, uri: str) -> Iterator[None]:
        """One request or several, whose failure names the operation, the object and the server."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError, HTTPClientError, ValueError) as error:
            raise refused(error, self.shown, what, uri) from error

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

    def read(self, uri: str) -> bytes | None:
        found = self._get(uri)
        return None if found is None else found[0]

    def _get(self, uri: str) -> tuple[bytes, str] | None:
        """Contents of an object and their tag; None if there is none."""
        bucket, key = self.split(uri)
        for last in (False, True):
            try:
                with self._asking("reading", uri):
                    found = self.client.get_object(Bucket=bucket, Key=key)
                    return found["Body"].read(), str(found["ETag"])
            except S3Refused as error:
                if error.code in GONE:
                    return None
                if error.code != CUT_OFF or last:  # an answer that ended in the middle is asked for once more
                    raise
        raise AssertionError("the second read returns or raises")

    def create(self, uri: str, data: bytes) -> bool:
        self._be_sure(uri)
        return self._put(uri, data, IfNoneMatch="*")

    def swap(self, uri: str, old: bytes, new: bytes) -> bool:
        self._be_sure(uri)
        found = self._get(uri)
        return found is not None and found[0] == old and self._put(uri, new, IfMatch=found[1])

    def _put(self, uri: str, data: bytes, **condition: str) -> bool:
        """Write an object under a condition; whether that held."""
        bucket, key = self.split(uri)
        try:
            with self._asking("writing", uri):
                self.client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
        except S3Refused as error:
            if error.code in EXISTS or ("IfMatch" in condition and error.code in GONE):
                return False
            raise
        return True

    def _be_sure(self, uri: str) -> None:
        """See for oneself, once a process, that this bucket honours conditions: on them rest the lock and publishing.

        Raises:
            UserError: If it writes in spite of them.
        """
        bucket, key = self.split(uri)
        if (self.endpoint, bucket) in self._sure_of:
            return
        probe = f"{uri.rpartition('/')[0]}/.probe-{uuid.uuid4().hex}"
        bucket, key = self.split(probe)
        ignored = []
        try:
            self._put(probe, b"1", IfNoneMatch="*")
            if self._put(probe, b"2", IfNoneMatch="*"):
                ignored.append("If-None-Match")
            if self._put(probe, b"3", IfMatch='"00000000000000000000000000000000"'):
                ignored.append("If-Match")
        finally:
            try:
                with self._asking("removing", probe):
                    self.client.delete_object(Bucket=bucket, Key=key)
            except S3Refused as error:
                if error.code not in DENIED:  # who may not delete leaves it
                    raise
        if ignored:
            raise refused(f"it ignores {' and '.join(ignored)}", self.shown, "", uri, code="NotImplemented")
        self._sure_of.add((self.endpoint, bucket))

    def age(self, uri: str) -> float | None:
        bucket, key = self.split(uri)
        try:
            with self._asking("looking for", uri):
                found = self.client.head_object(Bucket=bucket, Key=key)
        except S3Refused as error:
            if error.code in GONE:
                return None
            raise
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        written: datetime = found["LastModified"]
        return max(0.0, (now - written).total_seconds())

    def upload(self, path: Path, uri: str) -> None:
        bucket, key = self.split(uri)
        with self._asking("writing", uri):
            self.client.upload_file(str(path), bucket, key, Config=self.transfer)

    def download(self, uri: str, path: Path) -> None:
        bucket, key = self.split(uri)
        try:
            with self._asking("reading", uri):
                self.client.download_file(bucket, key, str(path), Config=self.transfer)
        except S3Refused as error:
            if error.code in GONE:
                raise FileNotFoundError(uri) from None
            raise

    def remove(self, uri: str) -> None:
        bucket, key = self.split(uri)
        with self._asking("removing", uri):
            self.client.delete_object(Bucket=bucket, Key=key)

    def remove_tree(self, uri: str) -> None:
        for found in list(self.list(uri)):
            self.remove(found)

    def list(self, uri: str) -> Iterator[str]:
        bucket, _ = self.split(uri)
        for item in self._items(uri):
            yield f"s3://{bucket}/{item['Key']}"

    def scan(self, uri: str) -> Iterator[Stored]:
        _, prefix = self.split(uri.rstrip("/") + "/")
        for item in self._items(uri):
            yield Stored(item["Key"].removeprefix(prefix), item["Size"], item["LastModified"].timestamp())

    def _items(self, uri: str) -> Iterator[dict[str, Any]]:
        bucket, prefix = self.split(uri.rstrip("/") + "/")
        with self._asking("listing", uri):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                yield from page.get("Contents", ())
