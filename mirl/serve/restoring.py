"""Restoring process: loads the ticket, then receives pictures and returns them restored, one at a time.

It is a process of its own because only a process can be stopped: neither a decoder misled by its input nor a network
on a picture too large for it can be interrupted in a thread.
"""

import math
import multiprocessing
import os
import signal
import threading
import time
from logging import getLogger
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from mirl.config import UserError
from mirl.networks import allow
from mirl.restore.codec import decode, encode, format_of, size_of
from mirl.restore.restorer import Restorer
from mirl.serve import log
from mirl.serve.formats import KNOWN, MEDIA_TYPES, chosen
from mirl.serve.messages import BEAT_SECONDS, Heartbeat, Restored, RestoreRequest, WorkerOptions
from mirl.serve.refusal import Refusal
from mirl.tickets import reading
from mirl.tickets.ticket import Ticket

MOST_SIDE = 2**16 - 1
"""Longest side of a picture in pixels, as in JPEG: a very thin picture has more tiles than a square one of its size."""


def serve(options: WorkerOptions, heartbeat: Heartbeat, pipe: Connection) -> None:
    """Answer on `pipe` until it is closed: first the ticket's facts (or an error), then an answer for each request."""
    log.limit_records()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    threading.Thread(target=_live_with_parent, args=(heartbeat,), daemon=True).start()
    try:
        if options.network:
            allow(options.network, Path())
        ticket = reading.read(options.ticket)
        restorer = Restorer(ticket, threads=options.threads, memory=options.memory)
        side = max(math.isqrt(options.pixels) // restorer.scale, 1)
        restorer.pixels(side, side, itemsize=2)  # the largest picture: told now, and not who sends it
    except (UserError, OSError) as error:
        pipe.send(error)
        return
    pipe.send(facts(ticket, options.ticket))
    while True:
        try:
            wanted = pipe.recv()
            pipe.send(answer(restorer, wanted, options, heartbeat))
        except (EOFError, BrokenPipeError):
            return


def facts(ticket: Ticket, path: Path) -> dict[str, Any]:
    """Return facts about the ticket for clients, as plain JSON data."""
    return {
        "name": ticket.lineage.name,
        "arm": ticket.lineage.arm,
        "method": ticket.lineage.method,
        "density": ticket.densities._asdict(),
        "network": ticket.network.spec(),
        "routing": ticket.routing.model_dump(mode="json"),
        "sha256": ticket.sha256,
        "bytes": path.stat().st_size,
    }


def answer(
    restorer: Restorer, wanted: RestoreRequest, options: WorkerOptions, heartbeat: Heartbeat
) -> Restored | Refusal:
    """Restore a picture, or return why it is refused; an abandoned picture is given up after the present tile."""
    started = time.perf_counter()

    def go_on(share: float = 0.0) -> None:
        if heartbeat.abandoned:
            raise Refusal("gone", "nobody waits for the picture any more")

    try:
        scale = restorer.scale_for(wanted.task, wanted.work)
        own = header(wanted.data, options.pixels, scale)
        target = chosen(own, wanted.accept)
        restorer.refuse(wanted.task, wanted.work)
        go_on()
        photograph = decode(wanted.data, "the picture", options.memory, scale)
        go_on()
        restored = photograph.with_pixels(restorer(photograph.rgb_HWC, go_on, wanted.task, wanted.work))
        encoded = encode(restored, target, "the picture")
    except Refusal as refusal:
        return refusal
    except UserError as error:
        return Refusal("broken", str(error))
    except Exception:
        getLogger("mirl.serve").exception("a picture could not be restored")
        return Refusal("crashed", "the picture could not be restored; the server's log says why")
    seconds = time.perf_counter() - started
    return Restored(
        data=encoded, media_type=MEDIA_TYPES[target], pixels=photograph.rgb_HWC[..., 0].size, seconds=seconds
    )


def header(data: bytes, most_pixels: int, scale: int = 1) -> str:
    """Return a picture's format, without decoding it.

    Raises Refusal if it is no picture, or what is made of it, `scale` times as wide and high, has too many pixels.
    """
    try:
        format = format_of(data, "the body")
    except UserError:
        raise Refusal("wrong_type", f"the body is no picture that can be read; {KNOWN} can") from None
    height, width = (side * scale for side in size_of(data, "the picture"))
    becomes = "has" if scale == 1 else "would become"
    if max(height, width) > MOST_SIDE:
        raise Refusal(
            "too_large",
            f"the picture {becomes} {width} x {height} pixels, expected sides of at most {MOST_SIDE}; cut it into pieces",
        )
    if width * height > most_pixels:
        raise Refusal(
            "too_large",
            f"the picture {becomes} {width} x {height} pixels, expected at most {most_pixels / 1e6:g} million; "
            "make it smaller",
        )
    return format


def _live_with_parent(heartbeat: Heartbeat) -> None:
    """Beat until the parent ends, then exit: if the parent was killed, nothing else ends a busy process."""
    parent = multiprocessing.parent_process()
    assert parent, "the restoring process is begun by a `Worker`"
    while not wait([parent.sentinel], BEAT_SECONDS):
        heartbeat.beats += 1
    os._exit(1)
