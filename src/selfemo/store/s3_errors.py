"""What an S3 says when it does not do as it was asked: which request, of what, where, and what mends it."""

from __future__ import annotations

from typing import Any

from selfemo.errors import UserError

GONE = ("NoSuchKey", "404", "NoSuchBucket")
EXISTS = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
CUT_OFF = "cut off"
DENIED = ("AccessDenied", "403")
_WHO = (
    *DENIED,
    "401",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
)
_CUT = ("ResponseStreamingError", "IncompleteReadError", "ReadTimeoutError")
_UNSIGNED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound")


class S3Refused(UserError):
    """A request to an S3 that failed for good.

    Attributes:
        code: Of the S3's answer; ``cut off`` (:data:`CUT_OFF`) if it ended in the middle; empty where nothing answered.
    """

    code = ""


def refused(error: object, server: str, what: str, uri: str, code: str = "") -> S3Refused:
    """The error that names the request, its object and its server.

    Args:
        error: Of botocore, boto3 or what lies under them; or words.
        server: For people.
        what: Was asked, such as ``reading``; may be empty.
        uri: Of the object; may be empty.
        code: Of the answer, where the error has none.
    """
    code = code or _code(error)
    words = " ".join(str(error).split())[:600]
    message = f"{what} failed: {words}" if what else words
    made = S3Refused(
        message, where=f"{uri} on S3 at {server}" if uri else f"S3 at {server}", fix=_fix(error, code, words)
    )
    made.code = code
    return made


def _code(error: object) -> str:
    answer: Any = getattr(error, "response", None)
    cause: object = error
    while not isinstance(answer, dict) and isinstance(cause, BaseException):
        cause = cause.__cause__ or cause.__context__  # boto3 wraps what an upload failed of
        answer = getattr(cause, "response", None)
    if isinstance(answer, dict):
        return str(answer.get("Error", {}).get("Code"))
    return CUT_OFF if type(error).__name__ in _CUT else ""


def _fix(error: object, code: str, words: str) -> str:
    if code in ("NotImplemented", "501"):
        return (
            "the promotion lock and publishing rest on If-None-Match and If-Match: use a newer release of this S3, or"
            " set store.root and store.endpoint to one that honours them"
        )
    if "checksum" in words.lower() or "x-amz-content-sha256" in words.lower():
        return "it is older than this client's checksums: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
    if code == "NoSuchBucket":
        return "make the bucket, or correct store.root"
    if code in _WHO:
        return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role, and what it may do in this bucket"
    if type(error).__name__ in _UNSIGNED:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the account a role"
    if "certificate" in words.lower() or type(error).__name__ == "SSLError":
        return "name the authority that signed its certificate in AWS_CA_BUNDLE"
    if isinstance(error, ValueError):
        return "write store.endpoint as https://HOST or http://HOST:PORT, store.root as s3://BUCKET/PREFIX"
    return "see whether it runs, and store.root and store.endpoint; then give the same command again"
