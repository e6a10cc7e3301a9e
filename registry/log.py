"""Structured logging: an event text and fields, one line each, secrets masked.

``configure`` is called once, at the entry point. Everything else asks for a logger and logs::

    log = get_logger(__name__)
    with bound(area="pit-north", pass_name=one.name):
        log.info("pass read", scenes=3, clear_fraction=0.71)

stdlib logging lies underneath, so what libraries log passes through the same handler and mask.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

from registry.masking import MASK, is_secret_name, mask, register_secret, register_secret_url

__all__ = ["Logger", "bound", "configure", "get_logger", "mask", "register_secret", "register_secret_url"]

ROOMS = ("alerts", "detector", "groundwatch", "ingest", "registry", "simulator")
"""Loggers that follow the configured level; libraries speak from warning upwards."""

_bound: ContextVar[Mapping[str, object]] = ContextVar("groundwatch_bound", default={})  # noqa: B039 - never mutated


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Every line logged inside carries these ids; inner values win over outer ones.

    Threads start without them: hand work over with ``contextvars.copy_context().run``.
    """
    token = _bound.set({**_bound.get(), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


class Logger:
    """Logs an event text with keyword fields. Names of fields are free, bar ``exc``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        """For the person who looks for a fault (``-v``)."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Something happened that an operator may want to see."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Something is odd, the work goes on."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """Something failed; ``exc`` adds its type and message, and at debug level its traceback."""
        if exc is not None:
            fields["error"] = f"{type(exc).__name__}: {exc}"
        self._log(logging.ERROR, event, fields, exc)

    def _log(
        self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        trace = exc if self._logger.isEnabledFor(logging.DEBUG) else None
        extra = {"groundwatch": {**_bound.get(), **fields}}
        self._logger.log(level, "%s", event, exc_info=trace, extra=extra, stacklevel=3)


def get_logger(name: str) -> Logger:
    """The logger of a module: ``log = get_logger(__name__)``."""
    return Logger(name)


class MaskSecrets(logging.Filter):
    """Masks secrets in the message and the fields of whatever passes, libraries' lines included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record in place; never drops one."""
        record.msg, record.args = mask(_message(record)), None
        fields = getattr(record, "groundwatch", None)
        record.groundwatch = _masked(_bound.get() if fields is None else fields)
        if record.exc_info:
            record.exc_text = mask(record.exc_text or logging.Formatter().formatException(record.exc_info))
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's format string that does not fit its arguments
        return f"{record.msg} {record.args}"


def _masked(value: object) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0.0 else str(value)  # JSON has no NaN and no infinity
    if isinstance(value, Mapping):
        return {mask(str(key)): _masked_field(str(key), part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return mask(str(value))


def _masked_field(name: str, value: object) -> Any:
    return MASK if value is not None and is_secret_name(name) else _masked(value)


class HumanLines(logging.Formatter):
    """``2026-08-01T09:20:00Z info ingest.poll: pass found area=pit-north scenes=3``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where there is one."""
        fields = "".join(f" {key}={_plain(value)}" for key, value in _fields(record).items())
        head = f"{_time(record)} {record.levelname.lower()} {record.name}: {_one_line(record.getMessage())}"
        return head + fields + (f"\n{record.exc_text}" if record.exc_text else "")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """Never more than one line; a field that would hide one of the four gets a ``_`` behind."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {(f"{key}_" if key in line else key): value for key, value in _fields(record).items()}
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "groundwatch", {})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    simple = text and text.isprintable() and not any(mark in text for mark in ' "=')
    return text if simple or not isinstance(value, str) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    # A name out of a hostile file must not be able to write log lines of its own.
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class LineHandler(logging.Handler):
    """Writes to stderr as it is now, above any tqdm bar instead of through it."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """One line to the stream."""
        try:
            self._write(self.format(record), self._stream or sys.stderr)
        except Exception:  # logging must never break the work it tells of
            self.handleError(record)

    def _write(self, line: str, stream: IO[str]) -> None:
        tqdm = sys.modules.get("tqdm")  # imported already, or there can be no bar
        if tqdm is not None:
            tqdm.tqdm.write(line, file=stream)
        else:
            stream.write(line + "\n")
        stream.flush()


def configure(level: str = "info", *, json_lines: bool = False, stream: IO[str] | None = None) -> None:
    """Set logging up for this process; calling it again replaces the earlier set-up.

    ``level`` (debug, info, warning, error) is that of groundwatch's own rooms. ``stream`` is stderr
    unless given.
    """
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(old)
    handler = LineHandler(stream)
    handler.addFilter(MaskSecrets())
    handler.setFormatter(JsonLines() if json_lines else HumanLines())
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())
    logging.captureWarnings(True)
