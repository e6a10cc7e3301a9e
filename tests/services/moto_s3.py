"""moto_server that lists quickly; run as a script.

moto spends a third of a millisecond on every key of a listing (it parses the time it has just printed), and
Tansu lists all records of a partition whenever it is asked for some: with the drill's thousands of marks
nothing else was done any more. What is listed is moto's; only the XML is put together here, 16 times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from moto.core.responses import ActionResult, BaseResponse
from moto.s3.responses import S3Response
from moto.server import main

_serialized = BaseResponse.serialized


def quickly_serialized(response: S3Response, result: ActionResult) -> Any:
    """As moto does, bar listings."""
    if response.data.get("Action") != "ListObjectsV2":
        return _serialized(response, result)
    found: Any = result.result
    return 200, {"Content-Type": "application/xml"}, listing(found)


def listing(found: Mapping[str, Any]) -> str:
    """The answer to ListObjectsV2."""
    parts = []
    for name, value in found.items():
        if name == "Contents":
            parts += [f"<Contents>{_members(key)}</Contents>" for key in value]
        elif name == "CommonPrefixes":
            parts += [f"<CommonPrefixes>{_members(folder)}</CommonPrefixes>" for folder in value]
        else:
            parts.append(_members({name: value}))
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<?xml version="1.0"?><ListBucketResult xmlns="{space}">{"".join(parts)}</ListBucketResult>'


def _members(one: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{_text(value)}</{name}>" for name, value in one.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value[0] if isinstance(value, list) else value))


if __name__ == "__main__":
    S3Response.serialized = quickly_serialized  # type: ignore[method-assign,assignment]
    main()
