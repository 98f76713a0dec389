"""The slice of texts: no routes of its own, but the work of sending them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from turncall_control.duty import repeated
from turncall_control.plane import Plane, Slice
from turncall_control.texts.sending import SEND_EVERY_S, SWEEP_EVERY_S, Sender, find_lost, follow


@asynccontextmanager
async def send_texts(plane: Plane) -> AsyncIterator[None]:
    """Asks carriers to send what is due."""
    sender = Sender(plane)
    async with sender.questions.asking(), repeated("sending_texts", sender.attend, SEND_EVERY_S):
        yield


@asynccontextmanager
async def find_texts(plane: Plane) -> AsyncIterator[None]:
    """Finds out what became of texts whose answer, or whose last callback, was lost."""
    async with (
        repeated("finding_texts", partial(find_lost, plane), SWEEP_EVERY_S),
        repeated("following_texts", partial(follow, plane), SWEEP_EVERY_S),
    ):
        yield


TEXTS: Final = Slice(name="texts", tasks=(send_texts, find_texts))
