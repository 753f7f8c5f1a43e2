"""An essentry that accepts everything at once: what the sender costs is measured, not the server's
rules. `python -m tests.bench.server PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson
import uvicorn

_COUNTS = {"requests": 0, "events": 0}


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """PUT: SUCCESS for each event; GET: how many requests and events there were."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "PUT":
        events = orjson.loads(body)["events"]
        _COUNTS["requests"] += 1
        _COUNTS["events"] += len(events)
        content = orjson.dumps(
            {"events": [{"sourceId": event["sourceId"], "status": "SUCCESS"} for event in events]}
        )
    else:
        content = orjson.dumps(_COUNTS)
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(answer, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off")
