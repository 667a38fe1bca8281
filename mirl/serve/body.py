"""Reading of a request's body within limits, and detection of clients that no longer wait for the answer."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from mirl.serve.limits import Limits
from mirl.serve.refusal import Refusal

T = TypeVar("T")


async def read(request: Request, limits: Limits) -> bytes:
    """Read the whole body.

    Raises Refusal if the body or its declared length is too large, the body arrives too slowly or is empty, or the
    client has gone.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.bytes:
        raise too_large(limits)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.bytes:  # whatever was said
                    raise too_large(limits)
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(
            "slow", f"the picture did not arrive within {limits.seconds:g} s; send it again"
        ) from None
    except ClientDisconnect:
        raise Refusal("gone", "the client has gone") from None
    if not size:
        raise Refusal("empty", "the request has no body; send the bytes of a picture")
    return b"".join(chunks)


def too_large(limits: Limits) -> Refusal:
    return Refusal("too_large", f"the picture has over {limits.bytes / 2**20:g} MiB; make its file smaller")


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """Return the result of `work`. Once the client closes the connection, `work` is cancelled and Refusal is raised."""
    answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Refusal("gone", "the client has gone")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
