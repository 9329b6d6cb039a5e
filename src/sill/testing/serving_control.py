"""A tiny control plane, really served: plan, bundle files, log, report. Its state lies in a folder, so it can be killed.

Run as `python -m sill.testing.serving_control FOLDER PORT`. FOLDER holds plan.json, files/VERSION/PATH, and gets log/ID, reports.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvicorn


def app(folder: Path) -> Any:
    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, content = await route(scope["path"], scope["query_string"].decode(), body)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": content})

    async def route(path: str, query: str, body: bytes) -> tuple[int, bytes]:
        if path == "/api/v1/serving/plan":
            asked = parse_qs(query)
            for _ in range(int(float(asked["wait_s"][0]) / 0.02) + 1):
                content = (folder / "plan.json").read_bytes()
                if msgspec.json.decode(content)["revision"] != int(asked["after_revision"][0]):
                    break
                await asyncio.sleep(0.02)
            return 200, content
        if path == "/api/v1/serving/log":
            batch = msgspec.json.decode(body)
            kept = folder / "log" / f"{batch['id']}.json"
            with (folder / "posts").open("a") as posts:
                posts.write(batch["id"] + "\n")
            beside = folder / f"{batch['id']}.new"
            beside.write_bytes(body)
            beside.rename(kept)  # whoever looks into the folder meanwhile sees whole batches
            return 200, b'{"rows":1}'
        if path == "/api/v1/serving/report":
            with (folder / "reports").open("ab") as reports:
                reports.write(body + b"\n")
            return 200, b"null"
        parts = path.split("/")  # /api/v1/projects/P/models/M/versions/V/files/PATH
        return 200, folder.joinpath("files", parts[8], *parts[10:]).read_bytes()

    return answer


if __name__ == "__main__":
    config = uvicorn.Config(app(Path(sys.argv[1])), port=int(sys.argv[2]), lifespan="off", log_level="warning")
    uvicorn.Server(config).run()
