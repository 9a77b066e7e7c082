"""S3 buckets as a place that artifacts lie in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from selfemo.store.backends import Stored, parsed


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
