"""Where lines meet: each hears what all the others say, mixed, 20 ms later."""

import numpy as np

from turncall_phone import mulaw
from turncall_phone.line import Line
from turncall_phone.mulaw import Samples
from turncall_phone.playout import Playout
from turncall_phone.ticker import Ticker


class Seat:
    """One line in a room, until it is left."""

    def __init__(self, room: "Room", line: Line) -> None:
        self._room = room
        self._line = line
        self.ear = Playout()
        self.said: Samples | None = None
        self.is_muted = False
        line.connect(self, self.ear)

    def return_marks(self, names: tuple[str, ...]) -> None:
        """Nobody sets marks here."""

    def send_audio(self, codes: bytes) -> None:
        """What this line says during the next 20 ms of the room; nothing while it is muted."""
        self.said = None if self.is_muted else mulaw.decode(codes)

    def leave(self) -> None:
        """Takes the line out of the room; harmless when it has left."""
        if self._room.remove(self):
            self._line.disconnect()


class Room:
    """Mixes its seats at each beat, while there are any."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._seats: list[Seat] = []

    def seat(self, line: Line) -> Seat:
        """Brings a line in."""
        if not self._seats:
            self._ticker.add(self)
        seat = Seat(self, line)
        self._seats.append(seat)
        return seat

    def remove(self, seat: Seat) -> bool:
        """Whether the seat was taken."""
        if seat not in self._seats:
            return False
        self._seats.remove(seat)
        if not self._seats:
            self._ticker.remove(self)
        return True

    def tick(self) -> None:
        """Hands each seat the sum of what the others said since the last beat."""
        frames = [(seat, seat.said) for seat in self._seats]
        for seat in self._seats:
            others = [said.astype(np.int32) for other, said in frames if other is not seat and said is not None]
            if others:
                seat.ear.feed(np.clip(np.sum(others, axis=0), -32768, 32767).astype(np.int16))
        for seat, _ in frames:
            seat.said = None
