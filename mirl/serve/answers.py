"""Common properties of all answers: an error is one sentence in JSON, and headers restrict what browsers may do."""

import reprlib

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirl.serve.headers import HEADERS
from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal

RESTORE = "/restore"
MOST_SHOWN = 100
"""Number of characters of a requested path that an error repeats."""
SENTENCES = {
    404: "there is no {path} here; /openapi.json says what there is",
    405: "{path} does not take {method}",
}


def prepare(app: FastAPI, metrics: Metrics) -> None:
    """Add the headers and the error sentences to `app`; every refused request to restore is counted."""
    app.add_middleware(_CommonHeaders)

    @app.exception_handler(Refusal)
    async def _refused(request: Request, refusal: Refusal) -> JSONResponse:
        metrics.count(refusal.outcome)
        return refused(refusal)

    @app.exception_handler(RequestValidationError)
    async def _misspelt(request: Request, error: RequestValidationError) -> JSONResponse:
        metrics.count("broken")
        first = error.errors()[0]
        said = f"`{first['loc'][-1]}` is {reprlib.repr(first['input'])}: {first['msg'].lower()}"
        return refused(Refusal("broken", said))

    @app.exception_handler(HTTPException)
    async def _misdirected(request: Request, error: HTTPException) -> JSONResponse:
        path = request.scope["path"]
        if path == RESTORE:
            metrics.count("wrong_method")
        shown = path if len(path) <= MOST_SHOWN else f"{path[:MOST_SHOWN]}…"
        said = SENTENCES.get(error.status_code, str(error.detail)).format(path=shown, method=request.method)
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        return JSONResponse({"error": said}, error.status_code, headers)

    @app.exception_handler(Exception)
    async def _mistaken(request: Request, error: Exception) -> JSONResponse:
        if request.scope["path"] == RESTORE:
            metrics.count("crashed")
        return JSONResponse({"error": "the server made a mistake; its log says which"}, 500, HEADERS)


def refused(refusal: Refusal) -> JSONResponse:
    """Make the answer to a refused request."""
    return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)


class _CommonHeaders:
    """Middleware that adds the headers to every answer, and treats HEAD as GET, whose body uvicorn leaves out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if head else scope, receive, sent)
