"""What all answers have in common: errors are one sentence in JSON, and browsers are told what not to do."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""
RESTORE = "/restore"
SENTENCES = {
    404: "there is no {path} here; /openapi.json says what there is",
    405: "{path} does not take {method}",
}


def prepare(app: FastAPI, metrics: Metrics) -> None:
    """Give `app` the headers and the sentences; every request to restore that is refused is counted."""
    app.add_middleware(_Headers)

    @app.exception_handler(Refusal)
    async def _refused(request: Request, refusal: Refusal) -> JSONResponse:
        metrics.count(refusal.outcome)
        return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)

    @app.exception_handler(HTTPException)
    async def _misdirected(request: Request, error: HTTPException) -> JSONResponse:
        path = request.url.path
        if path == RESTORE:
            metrics.count("wrong_method")
        said = SENTENCES.get(error.status_code, str(error.detail)).format(path=path, method=request.method)
        return JSONResponse({"error": said}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def _mistaken(request: Request, error: Exception) -> JSONResponse:
        if request.url.path == RESTORE:
            metrics.count("crashed")
        return JSONResponse({"error": "the server made a mistake; its log says which"}, 500, HEADERS)


class _Headers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, sent)
