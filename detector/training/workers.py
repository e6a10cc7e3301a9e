"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int) -> None:
    """Call in a worker: a killed parent can't end its workers, so they do it themselves."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
