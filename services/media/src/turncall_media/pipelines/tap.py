"""A place to listen in on a pipeline without a queue or a task of its own."""

from collections.abc import Callable
from typing import Any

from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


class Tap(FrameProcessor):
    """Tells ``down`` and ``up`` of each frame that flows that way, then passes it on.

    Frames of the classes ``swallows`` end here when they flow down, those that ``holds`` says in either direction.

    It runs within its neighbour's push (Pipecat's direct mode). An observer would cost a queue, a task and a message
    for every push of every frame of the whole pipeline.
    """

    def __init__(
        self,
        name: str,
        down: Callable[[Frame], None],
        up: Callable[[Frame], None] | None = None,
        swallows: tuple[type[Frame], ...] = (),
        holds: Callable[[Frame], bool] | None = None,
    ) -> None:
        super().__init__(name=name, enable_direct_mode=True)
        self._down = down
        self._up = up
        self._swallows = swallows
        self._holds = holds

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if self._holds is not None and self._holds(frame):
            return
        if direction is FrameDirection.DOWNSTREAM:
            self._down(frame)
            if isinstance(frame, self._swallows):
                return
        elif self._up is not None:
            self._up(frame)
        await self.push_frame(frame, direction)


Notice = Callable[[Any], None]
"""What a tap does with one class of frames."""


def by_class(notices: dict[type[Frame], Notice]) -> Callable[[Frame], None]:
    """Sends each frame to the notice of its exact class; frames of other classes go unnoticed."""

    def notice(frame: Frame) -> None:
        known = notices.get(type(frame))
        if known is not None:
            known(frame)

    return notice
