"""Whether a person has silenced the agent of a call."""

from pipecat.frames.frames import Frame, LLMContextFrame


class Mute:
    """While it is on, the model is not asked, whoever asks: `holds` says which frames end where they are.

    ``has_held``: somebody asked meanwhile, so that there is something to answer afterwards.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.has_held = False

    def holds(self, frame: Frame) -> bool:
        """Whether this frame would have the agent speak, and may not."""
        if not self.is_on or not isinstance(frame, LLMContextFrame):
            return False
        self.has_held = True
        return True
