"""FastAPI and ONNX Runtime as most write it: a Pydantic body, a plain `def` route.   python naive.py MODEL PORT"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from session import Session

session = Session(sys.argv[1])
app = FastAPI()


class Tensor(BaseModel):
    """One input."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class Asked(BaseModel):
    """The protocol's request."""

    inputs: list[Tensor]


@app.post("/infer")
def infer(asked: Asked) -> dict[str, Any]:
    """Its answer."""
    return session.reply(asked.model_dump())


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
