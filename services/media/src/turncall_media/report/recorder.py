"""The recording of one epoch: what both sides heard, cut into WAV parts, on disk first and then in the object store.

A store that is away disturbs nothing: parts wait on disk and are tried again, also after the call, and by the next
process with the same spool.
"""

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from turncall_blobs.store import BlobError, BlobStore
from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.report.tracks import Tracks, wav
from turncall_proto.events import RecordingPart
from turncall_runtime import logs

PART_S: Final = 10
SETTLE_S: Final = 2
"""A part is taken when this much follows it: longer than the agent's audio can run ahead and be taken back."""
ADOPT_EVERY_S: Final = 60.0
ADOPT_AFTER_S: Final = 60.0
_PUT_WITHIN_S: Final = 10.0
_RETRY_S: Final = (0.5, 15.0)
_WAITING_PARTS: Final = 4
_SLASH: Final = ","
_CONTENT_TYPE: Final = "audio/wav"
_log = logs.logger(__name__)


class Recording(Struct, frozen=True, kw_only=True):
    """A recording that lies in the object store, whole."""

    rate_hz: int
    duration_ms: int
    parts: tuple[RecordingPart, ...]


class Recorder:
    """Takes both sides as they happen, from `begin` on; `run` stores parts meanwhile, `close` the rest.

    Memory stays below 1.5 MB, or twice that at 16 kHz.
    """

    def __init__(self, key: Callable[[int], str], blobs: BlobStore, spool: Path, sound: Sound = TELEPHONE) -> None:
        self._sound = sound
        self._part = PART_S * sound.rate_hz
        self._settle = SETTLE_S * sound.rate_hz
        self._key = key
        self._blobs = blobs
        self._spool = spool
        self._tracks = Tracks(sound)
        self._cut_parts: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_PARTS)
        self._written: list[RecordingPart] = []
        self._unstored: list[RecordingPart] = []
        self._is_whole = True
        self._is_on = False
        self._is_paused = False

    def begin(self, at_ms: float) -> None:
        """Keeps what comes from here on; without this nothing is kept. The timeline before it is silent."""
        self._is_on = True
        self._tracks.reach(int(at_ms * self._sound.samples_per_ms))
        self._flush()

    def pause(self, at_ms: float) -> None:
        """Puts silence in the place of what comes, and of what the agent was about to say."""
        self._is_paused = True
        self._tracks.cut("agent", int(at_ms * self._sound.samples_per_ms))

    def resume(self) -> None:
        """Keeps what comes."""
        self._is_paused = False

    def caller(self, timestamp_ms: int, pcm: bytes) -> None:
        """The caller said ``pcm``, beginning at ``timestamp_ms`` of the stream."""
        if not self._is_on:
            return
        self._tracks.place(
            "caller", timestamp_ms * self._sound.samples_per_ms, bytes(len(pcm)) if self._is_paused else pcm
        )
        self._flush()

    def agent(self, at_ms: float, pcm: bytes) -> None:
        """The carrier will play ``pcm`` to the caller, beginning at ``at_ms`` of the stream."""
        if not self._is_on or self._is_paused:
            return
        self._tracks.place("agent", int(at_ms * self._sound.samples_per_ms), pcm)
        self._flush()

    def agent_cut(self, at_ms: float) -> None:
        """The carrier forgot what it would have played from ``at_ms`` on."""
        self._tracks.cut("agent", int(at_ms * self._sound.samples_per_ms))

    async def run(self) -> None:
        """Writes and stores parts until `close` was called and all of them are stored."""
        delay_s, longest_s = _RETRY_S
        is_closing = False
        while not is_closing or self._unstored:
            try:
                async with asyncio.timeout(delay_s if self._unstored else None):
                    stereo = await self._cut_parts.get()
            except TimeoutError:
                pass
            else:
                if stereo is None:
                    is_closing = True
                else:
                    await self._write(stereo)
            is_stored = await self._store()
            delay_s = _RETRY_S[0] if is_stored else min(2 * delay_s, longest_s)

    async def close(self, running: asyncio.Task[None], within_s: float) -> Recording | None:
        """Ends ``running`` (the task of `run`) and waits until everything is stored.

        None when nothing was recorded, when a part was lost, or when the store stayed away: then the parts wait in the
        spool for `adopt`.
        """
        rest = self._tracks.end - self._tracks.start
        try:
            async with asyncio.timeout(within_s):
                if rest:
                    await self._cut_parts.put(self._tracks.take(rest))
                await self._cut_parts.put(None)
                await asyncio.shield(running)
        except TimeoutError:
            _log.warning("recording.waits", parts=len(self._unstored), why="the object store is away")
            return None
        if not self._written or not self._is_whole:
            return None
        return Recording(
            rate_hz=self._sound.rate_hz,
            duration_ms=sum(part.duration_ms for part in self._written),
            parts=tuple(self._written),
        )

    def _flush(self) -> None:
        while self._tracks.end - self._tracks.start >= self._part + self._settle:
            part = self._tracks.take(self._part)
            try:
                self._cut_parts.put_nowait(part)
            except asyncio.QueueFull:
                if self._is_whole:
                    _log.error("recording.loses_parts", why="the disk of the spool does not keep up")
                self._is_whole = False

    async def _write(self, stereo: bytes) -> None:
        key = self._key(len(self._written))
        file = wav(stereo, self._sound)
        try:
            await asyncio.to_thread(_write_whole, _spooled(self._spool, key), file)
        except OSError as error:
            _log.error("recording.loses_parts", why=f"the spool takes no file: {error.strerror}")
            self._is_whole = False
            return
        duration_ms = len(stereo) // 4 // self._sound.samples_per_ms
        part = RecordingPart(key=key, size_bytes=len(file), duration_ms=duration_ms)
        self._written.append(part)
        self._unstored.append(part)

    async def _store(self) -> bool:
        """Stores what waits, oldest first; False at the first that fails."""
        while self._unstored:
            key = self._unstored[0].key
            if not await _store_file(_spooled(self._spool, key), key, self._blobs):
                return False
            del self._unstored[0]
        return True


async def keep_adopting(spool: Path, blobs: BlobStore) -> None:
    """Adopts what earlier processes left behind, at once, then every `ADOPT_EVERY_S` what calls do. Until cancelled."""
    after_s = 0.0
    while True:
        await adopt(spool, blobs, after_s)
        after_s = ADOPT_AFTER_S
        await asyncio.sleep(ADOPT_EVERY_S)


async def adopt(spool: Path, blobs: BlobStore, after_s: float = ADOPT_AFTER_S) -> int:
    """Stores the parts that lie under ``spool`` for longer than ``after_s``; the answer is how many still wait.

    A part that a live call stores at the same time is the same part, whoever comes first.
    """
    waiting = await asyncio.to_thread(_left_behind, spool, after_s)
    while waiting and await _store_file(waiting[0], waiting[0].name.replace(_SLASH, "/"), blobs):
        del waiting[0]
    return len(waiting)


def _left_behind(spool: Path, after_s: float) -> list[Path]:
    since_s = time.time() - after_s
    return sorted(path for path in spool.glob("*.wav") if _written_at_s(path) < since_s)


def _written_at_s(path: Path) -> float:
    """Seconds since 1970; for ever young when somebody stored it just now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _spooled(spool: Path, key: str) -> Path:
    """One flat folder: no key holds a comma, and no folder is left behind."""
    return spool / key.replace("/", _SLASH)


async def _store_file(path: Path, key: str, blobs: BlobStore) -> bool:
    try:
        async with asyncio.timeout(_PUT_WITHIN_S):
            try:
                part = await asyncio.to_thread(path.read_bytes)
            except FileNotFoundError:
                return (await blobs.stat(key)).size_bytes > 0  # somebody else stored it
            await blobs.put(key, part, _CONTENT_TYPE)
            await asyncio.to_thread(path.unlink, missing_ok=True)
    except (BlobError, TimeoutError, OSError):
        return False
    return True


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_bytes(data)
    draft.replace(path)
