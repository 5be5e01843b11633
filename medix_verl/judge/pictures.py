# SPDX-License-Identifier: Apache-2.0
"""Prepares the pictures of a row for a multimodal judge: reads them with the project's loader, scales, re-encodes.

Only the pixels of the original file are sent: no comments, no patient name from a header, no data appended to the file.
Equal pixels give equal bytes, because the request's bytes are the key of the cached reply. A picture is encoded once
for all answers to its question in this process. Results are cached up to KEPT_BYTES. Questions in progress use about
UNDER_WAY_BYTES at most; further questions wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import stat
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from medix_verl.errors import DataError
from medix_verl.types import ImageRef

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PictureReader", "encode_picture", "fitted", "media_of", "probe_picture", "ref_of_pixels"]

LOSSLESS_PIXELS = 65_536
"""Up to this many pixels a picture is sent as PNG; a larger one as JPEG, which is a fifth of the size and faster."""
QUALITY = 95
LONGEST_SIDE = 8192
"""Pixels; servers refuse longer sides, and JPEG allows at most 65,535."""
KEPT_BYTES = 64 << 20
UNDER_WAY_BYTES = 64 << 20
THREADS = 2
"""Pictures that a process decodes at once; one of the largest accepted size uses about 200 MB while it is decoded."""
PNG_MARK = b"\x89PNG"


class PictureReader:
    """Reads pictures in its own threads, each once; may be called from several event loops."""

    def __init__(self, pixels: int, kept_bytes: int = KEPT_BYTES, under_way_bytes: int = UNDER_WAY_BYTES) -> None:
        """Store the settings; nothing is read yet.

        Args:
            pixels: Area above which a picture is scaled down.
            kept_bytes: Maximum size of the cache of encoded pictures.
            under_way_bytes: Maximum size of the encoded pictures of questions in progress, in one event loop.
        """
        self.pixels = pixels
        self.kept_bytes = kept_bytes
        self.under_way_bytes = under_way_bytes
        self.encoded = 0
        """Number of pictures decoded and encoded so far."""
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._busy: dict[bytes, Future[bytes]] = {}
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, _Budget] = WeakKeyDictionary()

    @asynccontextmanager
    async def read(self, refs: Sequence[ImageRef], row: str) -> AsyncIterator[tuple[bytes, ...]]:
        """The pictures of one question as PNG or JPEG, in order; they count as in progress until the block ends.

        Args:
            refs: By value or by path.
            row: Name of the row in an error.

        Raises:
            DataError: A picture cannot be used.
        """
        loop = asyncio.get_running_loop()
        budget = self._budgets.get(loop)
        if budget is None:
            budget = self._budgets[loop] = _Budget(self.under_way_bytes)
        # Reserve one byte per pixel before reading: a question that waits must not hold pictures in memory.
        taken = self.pixels * len(refs)
        await budget.take(taken)
        try:
            found = tuple([await self._one(ref, row) for ref in refs])
            size = sum(map(len, found))
            budget.give(taken - size)
            taken = size
            yield found
        finally:
            budget.give(taken)

    def close(self) -> None:
        """Shut down the threads; a later read starts new ones."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def _one(self, ref: ImageRef, row: str) -> bytes:
        key = key_of(ref, row)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
            future = self._busy.get(key)
            if future is None:
                self._threads = self._threads or ThreadPoolExecutor(THREADS, thread_name_prefix="medix-judge-picture")
                future = self._busy[key] = self._threads.submit(self._encode, key, ref, row)
        # Other callers may wait for the same picture, so cancelling one caller must not cancel the work.
        return await asyncio.shield(asyncio.wrap_future(future))

    def _encode(self, key: bytes, ref: ImageRef, row: str) -> bytes:
        try:
            data = encode_picture(ref, row, self.pixels)
            with self._lock:
                self.encoded += 1
                self._kept[key] = data
                self._size += len(data)
                while self._size > self.kept_bytes and self._kept:
                    self._size -= len(self._kept.popitem(last=False)[1])
            return data
        finally:
            with self._lock:
                self._busy.pop(key, None)


class _Budget:
    """Bytes that may be in use at once in one event loop; requests are granted in order of arrival."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until the size fits; a size above the limit is granted only when nothing else is in use."""
        if not self.queue and self._fits(size):
            self.used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the bytes were granted already
                self.give(size)
            raise

    def give(self, size: int) -> None:
        """Return bytes to the budget."""
        self.used -= size
        while self.queue and (self.queue[0][1].done() or self._fits(self.queue[0][0])):
            wanted, turn = self.queue.popleft()
            if not turn.done():
                self.used += wanted
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.limit


def key_of(ref: ImageRef, row: str) -> bytes:
    """Cache key of a picture: a hash of its bytes, or its file's path, modification time and size.

    Raises:
        DataError: The file does not exist or is not a regular file.
    """
    if ref.bytes is not None:
        return hashlib.blake2b(ref.bytes, digest_size=16).digest()
    try:
        state = Path(str(ref.path)).stat()
    except (OSError, ValueError) as error:
        cause = (error.strerror or error) if isinstance(error, OSError) else error
        raise DataError(f"row {row!r}: picture {ref.path} cannot be read ({cause}); check the folder") from error
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"row {row!r}: picture {ref.path} is not a file; check the path")
    return f"{ref.path}\0{state.st_mtime_ns}\0{state.st_size}".encode("utf-8", "surrogateescape")


def encode_picture(ref: ImageRef, row: str, pixels: int) -> bytes:
    """Encode a picture as PNG or JPEG with at most `pixels` pixels; the same pixels always give the same bytes.

    Args:
        ref: By value or by path.
        row: Name of the row in an error.
        pixels: Area above which it is scaled down; the aspect ratio is kept.

    Raises:
        DataError: It cannot be used.
    """
    from PIL import Image

    from medix_verl.data.pictures.images import load_image

    image = load_image(ref, row)
    size = fitted(image.size, pixels)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.info = {}  # Pillow would write its comment and its colour profile
    buffer = io.BytesIO()
    if size[0] * size[1] <= LOSSLESS_PIXELS:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def fitted(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Width and height scaled down to at most `pixels` pixels and to LONGEST_SIDE, each at least 1."""
    width, height = size
    scale = min(1.0, (pixels / (width * height)) ** 0.5, LONGEST_SIDE / max(width, height))
    if scale == 1.0:
        return size
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    # A strip that is one pixel high cannot be scaled further in height.
    return min(width, max(1, pixels // height)), min(height, max(1, pixels // width))


def media_of(data: bytes) -> str:
    """The media type of the output of encode_picture."""
    return "image/png" if data.startswith(PNG_MARK) else "image/jpeg"


def probe_picture() -> ImageRef:
    """A small generated picture, to test whether a server accepts pictures."""
    from PIL import Image

    return ref_of_pixels(Image.linear_gradient("L").resize((64, 64)))


def ref_of_pixels(image: Image.Image) -> ImageRef:
    """A picture that is already decoded (`data.medix.images: pixels`), by value and lossless."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PPM")
    return ImageRef(bytes=buffer.getvalue())
