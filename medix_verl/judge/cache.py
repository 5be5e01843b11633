# SPDX-License-Identifier: Apache-2.0
"""Replies that a judge model gave before, by the SHA-256 of the request's body, in memory and in an SQLite file.

One cache serves verdicts and an evaluation's conversations alike: the body has the model, the prompt and every
parameter in it, and not the address, because the same model behind another endpoint is the same judge. Only replies
that could be read are put here; what failed is asked again. The first reply under a key stays.

In memory the least recently used ones go first. The file outlives the run and may be shared by processes (write-ahead
log; on one machine, not on a network drive). A reply is written behind the caller's back, many in one transaction, or
with `write_through` before `put` returns, so that a killed process loses none. A file that is something else, or
damaged, is refused when it is opened. One that fails later is put aside with an error in the log: the run goes on
without it, and no reply is made up.
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

APPLICATION = 0x6D656478  # "medx", so that no other program's database is ever written to
SCHEMA = 2
CREATE = "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, text BLOB NOT NULL, probability REAL) WITHOUT ROWID"
SELECT = "SELECT text, probability FROM replies WHERE key = ?"
INSERT = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)"
BATCH = 512
WRITE_EVERY_S = 0.5
BUSY_S = 10.0
"""How long a writer waits for another process."""
INSTEAD = "move the file away, or set judge.cache=memory"

Row = tuple[bytes, bytes, float | None]
logger = logging.getLogger(__name__)


def key_of(body: bytes) -> bytes:
    """The key of a request."""
    return hashlib.sha256(body).digest()


class ReplyCache:
    """A bounded memory, with or without a file behind it."""

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
        """Keep a reply that could be read."""
        self.remember(key, reply)
        if self.store is not None:
            self.store.put(key, reply)

    def remember(self, key: bytes, reply: Reply) -> None:
        """Keep in memory only."""
        if self.size == 0:
            return
        self.memory[key] = reply
        self.memory.move_to_end(key)
        if len(self.memory) > self.size:
            self.memory.popitem(last=False)

    def close(self) -> None:
        """Write what is not written yet."""
        if self.store is not None:
            self.store.close()


def open_cache(spec: JudgeSpec) -> ReplyCache:
    """The cache that a recipe asks for.

    Raises:
        ConfigError: The file is no cache of ours, or cannot be opened.
    """
    if spec.cache == "none":
        return ReplyCache(0)
    return ReplyCache(spec.cache_size, None if spec.cache == "memory" else Store(Path(spec.cache)))


class Store:
    """An open file: one row of some 50 bytes and the reply's text, never removed."""

    def __init__(self, path: Path, write_through: bool = False, instead: str = INSTEAD) -> None:
        """Open or create the file.

        Args:
            path: The file; its folder must be there.
            write_through: Whether `put` returns only when the reply outlives this process.
            instead: What to do where the file cannot be used, for the message.

        Raises:
            ConfigError: It cannot be opened, is damaged, or is something else.
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
        """The reply under a key, or None; some ten microseconds."""
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
        """Write a reply, or hand it to the writer."""
        if self.broken:
            return
        with self.lock:
            # A reply may hold lone surrogates, which SQLite's texts cannot.
            self.waiting.append((key, reply.text.encode("utf-8", "surrogatepass"), reply.probability))
            full = len(self.waiting) >= BATCH
        if self.write_through:
            self.write()
        elif full:
            self.wake.set()

    def write_on(self) -> None:
        """The writer's thread."""
        while not self.stop:
            self.wake.wait(WRITE_EVERY_S)
            self.wake.clear()
            self.write()

    def write(self) -> None:
        """Write what is waiting, in one transaction."""
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
        """Go on without the file."""
        if not self.broken:
            self.broken = True
            logger.error("judge.cache %r failed (%s); the run goes on without the file", str(self.path), error)

    def close(self) -> None:
        """Write what is waiting, and close; a second call does nothing."""
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
    """The file is a database, but not one of ours."""


def connect(path: Path) -> sqlite3.Connection:
    """One connection; each is used by one thread at a time."""
    return sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)


def prepare(connection: sqlite3.Connection) -> None:
    """Check whose file it is, and create the table in a new one.

    Raises:
        ForeignFileError: It belongs to another program, or to another version.
        sqlite3.Error: It is no database, or damaged.
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
