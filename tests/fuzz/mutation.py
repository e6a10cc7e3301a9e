"""Damage to bytes and to plain data, drawn from one source of chance, so that a seed repeats it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

MOST_STEPS = 4
"""Mutations of one specimen at most; each of them alone finds most, several together the rest."""

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 5e-324, 0.1,
    float("nan"), float("inf"), float("-inf"),
    "", " ", "0", "null", "NaN", "-", ".", "..", "../../etc/passwd", "/", "\\", "\x00", "\ud800", "\u202e",
    "\r\n", "é" * 300, "x" * 20_000, "9" * 5_000, "%s%n{}${HOME}", "{0.__class__}", "<script>", "' OR 1=1 --",
    "2024-02-30T00:00:00Z", "2024-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "http://169.254.169.254/", "file:///etc/passwd", "s3://", "http://[::1", "//", "EPSG:0", "MGRS-99ZZZ",
    [], {}, [[]], [None], {"": None}, {"type": "Polygon", "coordinates": []},
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]},
    {"type": "Point", "coordinates": [1, 2]},
)  # fmt: skip
"""What breaks programs."""

TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]" * 50, b'"', b"'", b":", b",", b"\n", b"\t",
    b"- ", b"null", b"NaN", b"1e999", b"-" * 40, b"&a [*a]", b"*a", b"!!python/object/apply:os.system [ls]",
    b"<<: *a",
    b"${", b"${HOME}", b"${file:/etc/hostname}", b"|", b">", b"?", b"%YAML 9.9\n", b"---\n", b"...\n", b"#",
    b"\\ud800", b"\\u0000", b"<!DOCTYPE x>", b"]]>", b"PK\x03\x04", b"\x7f\xff\xff\xff", b"9" * 400,
    b"[" * 3_000, b"{a: " * 80,
)  # fmt: skip
"""Pieces that mean something to one parser or another."""

Path = tuple[str | int, ...]


def mutated_tree(tree: Any, chance: Random) -> Any:
    """A damaged copy of plain data (mappings, lists, texts, numbers)."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.randint(1, MOST_STEPS)):
        paths = list(_paths(tree))
        if not paths:
            return chance.choice(NASTY)
        path = chance.choice(paths)
        parent = tree
        for part in path[:-1]:
            parent = parent[part]
        chance.choice(_TREE_STEPS)(parent, path[-1], chance)
    return tree


def _paths(tree: Any, above: Path = ()) -> Iterator[Path]:
    if isinstance(tree, dict | list):
        for part in tree if isinstance(tree, dict) else range(len(tree)):
            yield (*above, part)
            yield from _paths(tree[part], (*above, part))


def _replace(parent: Any, part: Any, chance: Random) -> None:
    parent[part] = copy.deepcopy(chance.choice(NASTY))


def _drop(parent: Any, part: Any, chance: Random) -> None:
    del parent[part]


def _rename(parent: Any, part: Any, chance: Random) -> None:
    if isinstance(parent, dict):
        parent[str(chance.choice(NASTY))[:50] + str(part)[:1]] = parent.pop(part)
    else:
        parent.insert(part, copy.deepcopy(parent[part]))


def _add(parent: Any, part: Any, chance: Random) -> None:
    if isinstance(parent, dict):
        parent[f"extra{chance.randint(0, 9)}"] = copy.deepcopy(chance.choice(NASTY))
    else:
        parent.append(copy.deepcopy(chance.choice(NASTY)))


def _wrap(parent: Any, part: Any, chance: Random) -> None:
    value = parent[part]
    for _ in range(chance.choice((1, 1, 2, 200))):
        value = [value] if chance.random() < 0.5 else {"x": value}
    parent[part] = value


def _nudge(parent: Any, part: Any, chance: Random) -> None:
    value = parent[part]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        _replace(parent, part, chance)
    elif isinstance(value, str):
        place = chance.randint(0, len(value))
        odd = chance.choice(("", "\x00", "é", "9", "-", " ", "Z", "/", "\ud800", "\n"))
        parent[part] = value[:place] + odd + value[place + chance.randint(0, 3) :]
    else:
        parent[part] = chance.choice(
            (-value, value + 1, value * 1_000_000, value // 3, str(value), -360 + value)
        )


def _exchange(parent: Any, part: Any, chance: Random) -> None:
    other = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[part], parent[other] = parent[other], parent[part]


_TREE_STEPS: tuple[Callable[[Any, Any, Random], None], ...] = (
    _replace, _replace, _replace, _drop, _rename, _add, _wrap, _nudge, _nudge, _exchange,
)  # fmt: skip


def mutated_bytes(raw: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """Damaged bytes; now and then continued with a piece of one of the ``others``."""
    for _ in range(chance.randint(1, MOST_STEPS)):
        first = chance.randint(0, len(raw))
        last = min(len(raw), first + int(2 ** chance.uniform(0, 9)))
        instead = chance.choice(_PIECES)(raw[first:last], chance)
        rest = chance.choice((*others, raw))[first:] if chance.random() < 0.05 else raw[last:]
        raw = raw[:first] + (instead + rest if chance.random() < 0.93 else b"")
    return raw


def _flipped(piece: bytes, chance: Random) -> bytes:
    return bytes([piece[0] ^ (1 << chance.randint(0, 7))]) + piece[1:] if piece else b""


_PIECES: tuple[Callable[[bytes, Random], bytes], ...] = (
    lambda piece, chance: chance.randbytes(len(piece)),
    _flipped,
    _flipped,
    lambda _piece, _chance: b"",
    lambda piece, _chance: piece + piece,
    lambda _piece, chance: chance.choice(TOKENS),
    lambda piece, chance: chance.choice(TOKENS) + piece,
)
"""What may stand in a piece's place."""


def json_bytes(tree: Any) -> bytes:
    """Plain data as a careless program writes it: NaN and half of a surrogate pair stay in."""
    return json.dumps(tree).encode()
