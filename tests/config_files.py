"""Configuration files of tests: each test writes its own into an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import masking
from registry.errors import ConfigError
from registry.settings import load_settings


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_secrets_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's file holds is a secret for that test only."""
    monkeypatch.setattr(masking, "_known", set())


def write(text: str, name: str = "groundwatch.yml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(text: str, **environ: str) -> str:
    """What is said of a file with this text, read in this environment."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(text), environ)
    return str(caught.value)
