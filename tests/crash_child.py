"""Die by SIGKILL before or after the n-th call of one function."""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any


def arm(target: str, when: str, nth: int) -> None:
    """Wrap the function MODULE:QUALNAME where it is looked up; ``when`` is before or after its nth call."""
    module_name, _, qualname = target.partition(":")
    owner: Any = importlib.import_module(module_name)
    *path, name = qualname.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == nth and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
