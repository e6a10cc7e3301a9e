"""Every error groundwatch raises on purpose, in one tree, split by what should happen next.

    GroundwatchError          the base; the command line prints it as one line
    ├── ConfigError           configuration is wrong: a person edits a file or a variable
    ├── InputError            a file, option or geometry that a person gave is wrong
    ├── NotFound              a named thing does not exist (area, incident, blob)
    ├── Exists                a blob or id is already taken; blobs are never overwritten
    ├── Retry                 the outside world failed for now; the bus delivers the event again
    ├── Reject                this event can never succeed; the bus moves it to the dead letters
    └── Halt                  everything is being rejected; the process stops before it loses more

A message names the value, the bound and the remedy, on one line. Foreign exceptions are translated
where they are met, with ``raise ... from exc``.
"""

from __future__ import annotations


class GroundwatchError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code: int = 1


class ConfigError(GroundwatchError):
    """Configuration is wrong: names file, line, key, and the remedy."""

    exit_code = 2


class InputError(GroundwatchError):
    """A file, option or geometry that a person gave is wrong."""

    exit_code = 3


class NotFound(GroundwatchError):
    """A named thing does not exist."""

    exit_code = 4


class Exists(GroundwatchError):
    """The name is taken; what is stored there stays."""

    exit_code = 5


class Retry(GroundwatchError):
    """The outside world failed for now. ``after`` is the delay asked for, in seconds, if any."""

    exit_code = 6

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Reject(GroundwatchError):
    """This event can never succeed, however often it is tried."""

    exit_code = 7


class Halt(GroundwatchError):
    """Everything is being rejected: stop rather than fill the dead letters."""

    exit_code = 8
