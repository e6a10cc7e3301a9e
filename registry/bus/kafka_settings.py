"""How groundwatch talks to Kafka."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from registry.values import Value


class Security(StrEnum):
    """What protects the connection, by Kafka's names."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class KafkaSettings(Value):
    """The broker, where ``bus`` is kafka://HOST:PORT/PREFIX."""

    partitions: int = Field(default=12, ge=1, le=1_000)
    """Partitions of each topic when it is made: the most detectors that can work at once."""
    replication: int = Field(default=1, ge=1, le=9)
    """Copies of each partition when a topic is made; 3 where there are three brokers."""
    retention_days: float = Field(default=30.0, gt=0.0, le=3_650.0)
    """Days that events are kept when a topic is made; a longer outage of all detectors would lose some."""
    session_timeout_s: float = Field(default=45.0, ge=1.0, le=1_800.0)
    """Seconds until the partitions of a silent process go to others."""
    timeout_s: float = Field(default=30.0, ge=0.5, le=600.0)
    """Seconds until a request to the broker is given up."""
    security: Security = Security.PLAINTEXT
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: str = Field(default="SCRAM-SHA-512", pattern=r"^[A-Z0-9-]+$")
    """How the user is proved with SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    username: str | None = None
    """User for SASL."""
    password: SecretStr | None = None
    """Password for SASL, never shown; write it as ``${NAME}``."""
    ca_file: Path | None = None
    """Certificates that are trusted, PEM; null = the system's."""
    cert_file: Path | None = None
    """Own certificate, PEM, where the broker asks for one."""
    key_file: Path | None = None
    """Its key, PEM."""

    def connection(self) -> dict[str, Any]:
        """Options of kafka-python that every client of this broker shares."""
        options: dict[str, Any] = {
            "security_protocol": self.security.value,
            "ssl_cafile": _text(self.ca_file),
            "ssl_certfile": _text(self.cert_file),
            "ssl_keyfile": _text(self.key_file),
        }
        if self.security in {Security.SASL_PLAINTEXT, Security.SASL_SSL}:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password and self.password.get_secret_value()
        return options


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
