"""s3:// hrefs for GDAL: keys and address as options of the reading thread, never as environment variables."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from rasterio.session import Session

from registry.errors import Reject
from registry.masking import mask
from registry.s3_settings import S3ReadSettings


class S3Session(Session):  # type: ignore[misc]
    """Hands the settings to ``rasterio.Env``, which takes keys from a session only."""

    def __init__(self, settings: S3ReadSettings) -> None:
        self._settings = settings

    def get_credential_options(self) -> dict[str, Any]:
        """GDAL's options; for what is left out it looks itself: AWS_* variables, then the machine's role."""
        options: dict[str, Any] = {
            "AWS_VIRTUAL_HOSTING": "FALSE" if self._settings.path_style else "TRUE",
            "AWS_NO_SIGN_REQUEST": "YES" if self._settings.anonymous else "NO",
        }
        if self._settings.endpoint:
            address = urlsplit(self._settings.endpoint)
            options |= {
                "AWS_S3_ENDPOINT": address.netloc,
                "AWS_HTTPS": "YES" if address.scheme == "https" else "NO",
            }
        if self._settings.region:
            options["AWS_REGION"] = self._settings.region
        if self._settings.requester_pays:
            options["AWS_REQUEST_PAYER"] = "requester"
        if self._settings.credentials:
            key, secret, token = self._settings.credentials
            options |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
            options["AWS_SESSION_TOKEN"] = token or ""  # one of the environment must not join these keys
        return options


def bucket_path(href: str) -> str:
    """``/vsis3/bucket/key`` of ``s3://bucket/key``. Raises Reject where a part is missing or odd."""
    parts = urlsplit(href)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    odd = parts.query or parts.fragment or not bucket.replace("-", "").replace(".", "").isalnum()
    if odd or not key or ".." in href.split("/"):
        raise Reject(f"href {mask(href)!r} is no bucket and key; s3://BUCKET/KEY is read")
    return f"/vsis3/{bucket}/{key}"
