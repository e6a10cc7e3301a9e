"""What a person can set about S3: the store of the blobs, and buckets that images are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from registry.values import Value


def _endpoint(url: str) -> str:
    """An address and nothing else: a login or query in it would end up in messages."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole, parts = False, urlsplit("")
    if not whole or parts.username is not None or parts.query or parts.path.strip("/"):
        raise ValueError("give https://HOST or https://HOST:PORT; the bucket and keys have their own places")
    return url.rstrip("/")


Endpoint = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._:\[\]-]+/?$"), AfterValidator(_endpoint)]


class S3Access(Value):
    """Where an S3 service is and how it is entered."""

    endpoint: Endpoint | None = None
    """Address of the service, such as https://s3.example.org:9000; null = Amazon's own, by region."""
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,64}$")
    """Region of the bucket, such as eu-central-1; null = AWS_REGION of the environment, else us-east-1."""
    access_key_id: SecretStr | None = None
    """Never shown; write it as ``${NAME}``. Null or empty = the machine's own role (see docs/fleet.md)."""
    secret_access_key: SecretStr | None = None
    """Goes with ``access_key_id``; never shown; write it as ``${NAME}``."""
    session_token: SecretStr | None = None
    """Goes with keys that were lent for a time; never shown."""
    path_style: bool = True
    """True = https://HOST/BUCKET/KEY, which every service takes; false = https://BUCKET.HOST/KEY."""

    @property
    def credentials(self) -> tuple[str, str, str | None] | None:
        """(access key id, secret access key, session token); None = none are given."""
        key, secret, token = (
            one.get_secret_value() if one else ""
            for one in (self.access_key_id, self.secret_access_key, self.session_token)
        )
        return (key, secret, token or None) if key else None

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        key, secret = (
            bool(one and one.get_secret_value()) for one in (self.access_key_id, self.secret_access_key)
        )
        if key != secret:
            raise ValueError("access_key_id and secret_access_key go together; give both or neither")
        return self


class S3Settings(S3Access):
    """The S3 service that keeps the blobs, where ``blobs`` is an s3:// URL."""

    allow_http: bool = False
    """True = the endpoint may be http://: keys are not sent, but anybody on the way can read the blobs."""
    connect_timeout_s: float = Field(default=5.0, gt=0.0, le=600.0)
    """Seconds until a connection that is not answered is given up."""
    timeout_s: float = Field(default=60.0, gt=0.0, le=3_600.0)
    """Seconds until a silent request is given up; a whole transfer may take ten times that."""
    retry_s: float = Field(default=60.0, ge=0.0, le=290.0)
    """Seconds over which a failing request is tried again; then the bus delivers the pass once more."""
    cache_mb: int = Field(default=4_096, ge=1, le=900_000)
    """Megabytes of blobs kept on the local disk for reading; the least recently used go first."""
    cache: Path | None = None
    """Folder of these; null = blob-cache in ``data``. Processes of one machine may share it."""

    @model_validator(mode="after")
    def _plain_http_is_meant(self) -> Self:
        if self.endpoint and self.endpoint.startswith("http://") and not self.allow_http:
            raise ValueError(f"endpoint {self.endpoint} has no TLS; use https://, or set allow_http: true")
        return self


class S3ReadSettings(S3Access):
    """S3 buckets that images are read from, where an item's hrefs are s3:// URLs."""

    anonymous: bool = False
    """True = requests are not signed: public buckets."""
    requester_pays: bool = False
    """True = agree to pay for transfers, as some Sentinel buckets want; needs keys or a role."""

    @model_validator(mode="after")
    def _nobody_cannot_pay(self) -> Self:
        if self.anonymous and (self.requester_pays or self.credentials):
            raise ValueError("anonymous requests carry no keys and pay for nothing; drop one of them")
        return self
