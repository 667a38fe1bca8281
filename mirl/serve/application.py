"""ASGI application with the HTTP API and the page."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request

from mirl import __version__
from mirl.serve import answers, body, formats
from mirl.serve.guard import Guard
from mirl.serve.hosts import Hosts
from mirl.serve.limits import Limits
from mirl.serve.messages import Restored, RestoreRequest
from mirl.serve.metrics import Metrics
from mirl.serve.openapi import RESTORE
from mirl.serve.page import page
from mirl.serve.queue import FAILING, Queue
from mirl.serve.refusal import RESTORED
from mirl.serve.worker import Worker

Share = Annotated[float, Query(gt=0, le=1)]
PIECE = 256 * 2**10
"""Bytes of an answer that are sent at a time: the next piece follows once this one has nearly been fetched."""


def application(worker: Worker, ticket: dict[str, Any], limits: Limits, hosts: Hosts) -> FastAPI:
    """Make the application that serves the open `worker`, whose facts are `ticket`, under the names in `hosts`."""
    metrics = Metrics(ticket)
    queue = Queue(worker, limits, metrics)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        restoring = asyncio.create_task(queue.run())
        try:
            yield
        finally:
            restoring.cancel()
            worker.stop()

    app = FastAPI(
        title="mirl",
        description="Restores photographs with a winning ticket.",
        version=__version__,
        lifespan=life,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(Guard, hosts=hosts, metrics=metrics)
    answers.prepare(app, metrics)
    app.include_router(_restore(queue, limits, metrics, ticket))
    app.include_router(_status_routes(queue, limits, metrics, ticket))
    app.include_router(page())
    return app


def _restore(queue: Queue, limits: Limits, metrics: Metrics, ticket: dict[str, Any]) -> APIRouter:
    router = APIRouter()
    about = {
        "X-Mirl-Ticket": quote(ticket["name"]),
        "X-Mirl-Density": f"{ticket['density']['prunable']:.6g}",
        "Cache-Control": "no-store",
    }

    async def slot(request: Request) -> AsyncIterator[None]:
        formats.refuse_other(request.headers.get("content-type", ""))
        with queue.slot():
            request.state.has_slot = True
            try:
                yield  # until the answer has been sent
            finally:
                request.state.has_slot = False

    @router.post("/restore", dependencies=[Depends(slot)], response_class=Response, **RESTORE)
    async def restore(request: Request, task: str = "", work: Share | None = None) -> Response:
        """Restore the picture in the body; the answer has the format of the picture, unless `Accept` leaves that out.

        `task`: what to undo, for a ticket that has to be told (`/ticket` shows its routing); others restore all alike.
        `work`: share of the full work that is done, for a ticket that can do with less; others do all of it.
        """
        wanted = RestoreRequest(
            data=await body.read(request, limits),
            accept=", ".join(request.headers.getlist("accept")),
            task=task,
            work=work,
        )
        restored = await body.unless_gone(request, queue.restored(wanted))
        metrics.count(RESTORED)
        headers = {
            **about,
            "X-Mirl-Seconds": f"{restored.seconds:.3f}",
            "Content-Length": str(len(restored.data)),
        }
        return StreamingResponse(_pieces(restored), media_type=restored.media_type, headers=headers)

    return router


async def _pieces(restored: Restored) -> AsyncIterator[bytes]:
    for start in range(0, len(restored.data), PIECE):
        yield restored.data[start : start + PIECE]


def _status_routes(queue: Queue, limits: Limits, metrics: Metrics, ticket: dict[str, Any]) -> APIRouter:
    router = APIRouter()

    @router.get("/ticket")
    async def _ticket() -> dict[str, Any]:
        """Describe the ticket: name, arm, method, densities, network, routing, sha256 and size of its file."""
        return ticket

    @router.get("/limits")
    async def _limits() -> dict[str, int | float]:
        """List the limits: bytes, pixels and seconds for a picture, and the number of pictures that may wait."""
        return vars(limits)

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Confirm that the server is alive."""
        return {"status": "alive"}

    @router.get(
        "/ready", responses={503: {"description": "The restoring process is begun again, or cannot be"}}
    )
    async def ready() -> JSONResponse:
        """Say whether a picture that is sent now can be restored, at once or after those that wait."""
        said = {"status": queue.status}
        if queue.status == "failing":
            said["error"] = FAILING
        return JSONResponse(said, status_code=200 if queue.status == "ready" else 503)

    @router.get("/metrics", response_class=Response)
    async def numbers() -> Response:
        """Return the metrics in the text format of Prometheus."""
        return Response(metrics.text(), media_type=metrics.media_type)

    return router
