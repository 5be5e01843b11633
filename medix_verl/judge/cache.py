# SPDX-License-Identifier: Apache-2.0
"""Caches replies of a judge model under the SHA-256 of the request's body, in memory and in an SQLite file.

The same cache serves verdicts and the conversations of an evaluation. The body contains the model, the prompt and every
parameter, but not the address: the same model behind another endpoint is the same judge. Only readable replies are
stored; failed requests are sent again. The first reply stored under a key is never overwritten.

Memory is an LRU cache. The file is kept after the run and may be shared by processes (write-ahead log; on one machine,
not on a network drive). Replies are written asynchronously in batched transactions. With `write_through` each is
written before `put` returns, so that a killed process loses none. A file that is damaged or has another format is
refused when it is opened. If the file fails later, an error is logged and the run continues without it.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.judge.reply import Reply
from medix_verl.judge.spec import JudgeSpec

__all__ = ["ReplyCache", "Store", "key_of", "open_cache"]

APPLICATION = 0x6D656478  # "medx"; databases of other programs are never written to
SCHEMA = 2
CREATE = "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, text BLOB NOT NULL, probability REAL) WITHOUT ROWID"
SELECT = "SELECT text, probability FROM replies WHERE key = ?"
INSERT = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)"
BATCH = 512
WRITE_EVERY_S = 0.5
BUSY_S = 10.0
"""How long a writer waits for a lock of another process."""
INSTEAD = "move the file away, or set judge.cache=memory"

Row = tuple[bytes, bytes, float | None]
logger = logging.getLogger(__name__)


def key_of(body: bytes) -> bytes:
    """The key of a request."""
    return hashlib.sha256(body).digest()


class ReplyCache:
    """A bounded in-memory cache, optionally backed by a file."""

    def __init__(self, size: int, store: Store | None = None) -> None:
        self.size = size
        self.store = store
        self.memory: OrderedDict[bytes, Reply] = OrderedDict()

    def get(self, key: bytes) -> Reply | None:
        """The reply under a key, or None."""
        found = self.memory.get(key)
        if found is not None:
            self.memory.move_to_end(key)
        elif self.store is not None and (found := self.store.get(key)) is not None:
            self.remember(key, found)
        return found

    def put(self, key: bytes, reply: Reply) -> None:
        """Store a readable reply."""
        self.remember(key, reply)
        if self.store is not None:
            self.store.put(key, reply)

    def remember(self, key: bytes, reply: Reply) -> None:
        """Store in memory only."""
        if self.size == 0:
            return
        self.memory[key] = reply
        self.memory.move_to_end(key)
        if len(self.memory) > self.size:
            self.memory.popitem(last=False)

    def close(self) -> None:
        """Write pending replies."""
        if self.store is not None:
            self.store.close()


def open_cache(spec: JudgeSpec) -> ReplyCache:
    """Open the cache that a recipe configures.

    Raises:
        ConfigError: The file is not a cache of this package, or cannot be opened.
    """
    if spec.cache == "none":
        return ReplyCache(0)
    return ReplyCache(spec.cache_size, None if spec.cache == "memory" else Store(Path(spec.cache)))


class Store:
    """An open cache file: about 50 bytes per row plus the reply's text; rows are never removed."""

    def __init__(self, path: Path, write_through: bool = False, instead: str = INSTEAD) -> None:
        """Open or create the file.

        Args:
                path: The file; its folder must exist.
                write_through: Whether `put` returns only after the reply is on disk.
                instead: What to do when the file cannot be used, for the error message.

        Raises:
                ConfigError: It cannot be opened, is damaged, or has another format.
        """
        self.path = path
        self.write_through = write_through
        self.lock = threading.Lock()
        self.waiting: list[Row] = []
        self.broken = False
        self.wake = threading.Event()
        self.stop = False
        try:
            self.writer = connect(path)
            prepare(self.writer)
            self.reader = connect(path)
        except (sqlite3.Error, OSError, ForeignFileError) as error:
            raise ConfigError(f"judge.cache {str(path)!r} cannot be used ({error}); {instead}") from error
        self.thread = threading.Thread(target=self.write_on, name="medix-judge-cache", daemon=True)
        if not write_through:
            self.thread.start()

    def get(self, key: bytes) -> Reply | None:
        """The reply under a key, or None; takes about ten microseconds."""
        if self.broken:
            return None
        try:
            row = self.reader.execute(SELECT, (key,)).fetchone()
        except sqlite3.Error as error:
            self.put_aside(error)
            return None
        if row is None or not isinstance(row[0], bytes):
            return None
        return Reply(row[0].decode("utf-8", "surrogatepass"), None if row[1] is None else float(row[1]))

    def put(self, key: bytes, reply: Reply) -> None:
        """Write a reply, or queue it for the writer thread."""
        if self.broken:
            return
        with self.lock:
            # A reply may contain lone surrogates, which SQLite's TEXT type cannot store.
            self.waiting.append((key, reply.text.encode("utf-8", "surrogatepass"), reply.probability))
            full = len(self.waiting) >= BATCH
        if self.write_through:
            self.write()
        elif full:
            self.wake.set()

    def write_on(self) -> None:
        """Loop of the writer thread."""
        while not self.stop:
            self.wake.wait(WRITE_EVERY_S)
            self.wake.clear()
            self.write()

    def write(self) -> None:
        """Write all queued replies in one transaction."""
        with self.lock:
            rows, self.waiting = self.waiting, []
        if not rows or self.broken:
            return
        try:
            with self.writer:
                self.writer.executemany(INSERT, rows)
        except sqlite3.Error as error:
            self.put_aside(error)

    def put_aside(self, error: sqlite3.Error) -> None:
        """Log the error once and continue without the file."""
        if not self.broken:
            self.broken = True
            logger.error("judge.cache %r failed (%s); the run goes on without the file", str(self.path), error)

    def close(self) -> None:
        """Write queued replies and close; a second call does nothing."""
        if self.stop:
            return
        self.stop = True
        if not self.write_through:
            self.wake.set()
            self.thread.join()
        self.write()
        self.reader.close()
        self.writer.close()
        self.broken = True


class ForeignFileError(Exception):
    """The file is a database, but not a cache of this package."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection; each is used by one thread at a time."""
    return sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)


def prepare(connection: sqlite3.Connection) -> None:
    """Check the format of the file, and create the table in a new one.

    Raises:
        ForeignFileError: It belongs to another program or another version.
        sqlite3.Error: It is not a database, or is damaged.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION:
        raise ForeignFileError("it is a database of another program")
    if tables and version != SCHEMA:
        raise ForeignFileError(f"its format is {version}, this version reads {SCHEMA}")
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise ForeignFileError("it is damaged")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    with connection:
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={SCHEMA}")
        connection.execute(CREATE)
