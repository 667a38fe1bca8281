"""What the restoring process does: loads the ticket, then takes pictures and gives them back, one at a time.

It has a process of its own because nothing else can be stopped: neither a decoder that was led astray nor a
network on a picture that is too much for it lets itself be interrupted in a thread.
"""

import io
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mirl.config import UserError
from mirl.restore.image_file import decode, encode
from mirl.restore.restorer import Restorer
from mirl.serve.formats import KNOWN, MEDIA_TYPES, chosen
from mirl.serve.messages import Means, Restored, Wanted
from mirl.serve.refusal import Refusal
from mirl.tickets import format as ticket_format
from mirl.tickets.ticket import Ticket

FIRST = 64
"""Side in pixels of the picture that is restored before all others: then compilers have run."""


def serve(means: Means, pipe: Connection) -> None:
    """Answer on `pipe` until it is closed: first the ticket's facts (or a UserError), then an answer for each wanted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        ticket = ticket_format.read(means.ticket)
        restorer = Restorer(ticket, threads=means.threads, memory=means.memory)
        restorer(np.zeros((FIRST, FIRST, 3), np.uint8))
    except (UserError, OSError) as error:
        pipe.send(error)
        return
    pipe.send(facts(ticket, means.ticket))
    while True:
        try:
            wanted = pipe.recv()
            pipe.send(answer(restorer, wanted, means))
        except (EOFError, BrokenPipeError):
            return


def facts(ticket: Ticket, path: Path) -> dict[str, Any]:
    """What a client may want to know of the ticket: plain JSON data."""
    return {
        "name": ticket.lineage.name,
        "arm": ticket.lineage.arm,
        "method": ticket.lineage.method,
        "density": ticket.densities._asdict(),
        "network": ticket.network,
        "sha256": ticket.sha256,
        "bytes": path.stat().st_size,
    }


def answer(restorer: Restorer, wanted: Wanted, means: Means) -> Restored | Refusal:
    """The restored picture, or why there is none."""
    started = time.perf_counter()
    try:
        own, pixels = header(wanted.data, means.pixels)
        target = chosen(own, wanted.accept)
        photograph = decode(wanted.data, "the picture", means.memory)
        restored = photograph.with_pixels(restorer(photograph.rgb_HWC))
        encoded = encode(restored, target, "the picture")
    except Refusal as refusal:
        return refusal
    except UserError as error:
        return Refusal("broken", str(error))
    except Exception:
        traceback.print_exc()
        return Refusal("crashed", "the picture could not be restored; the server's log says why")
    seconds = time.perf_counter() - started
    return Restored(data=encoded, media_type=MEDIA_TYPES[target], pixels=pixels, seconds=seconds)


def header(data: bytes, most_pixels: int) -> tuple[str, int]:
    """A picture's format and number of pixels, read without decoding it; Refusal where either is not taken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            with Image.open(io.BytesIO(data), formats=list(MEDIA_TYPES)) as image:
                format, (width, height) = str(image.format), image.size
    except UnidentifiedImageError:
        raise Refusal("wrong_type", f"the body is no picture that can be read; {KNOWN} can") from None
    except Image.DecompressionBombError:
        raise Refusal("too_large", _too_many("far too many pixels", most_pixels)) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Refusal("broken", f"the picture is broken or cut off ({error}); get a whole copy") from None
    if width * height > most_pixels:
        raise Refusal("too_large", _too_many(f"{width} x {height} pixels", most_pixels))
    return ("JPEG" if format == "MPO" else format), width * height  # MPO: JPEG, as some telephones write it


def _end_with_parent() -> None:
    """Where the parent was killed, nobody else ends a process that is busy."""
    parent = multiprocessing.parent_process()
    assert parent, "the restoring process is begun by a workshop"
    wait([parent.sentinel])
    os._exit(1)


def _too_many(what: str, most_pixels: int) -> str:
    return f"the picture has {what}, expected at most {most_pixels / 1e6:g} million; make it smaller"
