# SPDX-License-Identifier: Apache-2.0
"""Verdicts in an SQLite file, across runs and processes: one row of about 100 bytes a verdict, never removed.

Reading takes some ten microseconds and happens at once; rows are written behind the caller's back, many in one short
transaction, so that several processes may share a file (write-ahead log; on one machine, not on a network drive). A
file that is something else, or damaged, is refused when it is opened. One that fails later is put aside with an
error in the log: the run goes on without it, and no verdict is made up.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.types import Verdict

__all__ = ["Store"]

APPLICATION = 0x6D656478  # "medx", so that no other program's database is ever written to
SCHEMA = 1
CREATE = (
    "CREATE TABLE IF NOT EXISTS verdicts "
    "(key BLOB PRIMARY KEY, correct INTEGER NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL, probability REAL) "
    "WITHOUT ROWID"
)
SELECT = "SELECT correct, source, reason, probability FROM verdicts WHERE key = ?"
INSERT = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)"
BATCH = 512
WRITE_EVERY_S = 0.5
BUSY_S = 10.0
"""How long a writer waits for another process."""

Row = tuple[bytes, int, str, str, float | None]
logger = logging.getLogger(__name__)


class Store:
    """An open file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            ConfigError: It cannot be opened, is damaged, or is something else.
        """
        self.path = path
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
            raise ConfigError(
                f"judge.cache {str(path)!r} cannot be used ({error}); move the file away, or set judge.cache=memory"
            ) from error
        self.thread = threading.Thread(target=self.write_on, name="medix-judge-cache", daemon=True)
        self.thread.start()

    def get(self, key: bytes) -> Verdict | None:
        """The verdict under a key, or None."""
        if self.broken:
            return None
        try:
            row = self.reader.execute(SELECT, (key,)).fetchone()
        except sqlite3.Error as error:
            self.put_aside(error)
            return None
        if row is None or row[0] not in (0, 1):
            return None
        return Verdict(bool(row[0]), str(row[1]), str(row[2]), None if row[3] is None else float(row[3]))

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Hand a verdict to the writer."""
        if self.broken:
            return
        with self.lock:
            self.waiting.append((key, int(bool(verdict.correct)), verdict.source, verdict.reason, verdict.probability))
            full = len(self.waiting) >= BATCH
        if full:
            self.wake.set()

    def write_on(self) -> None:
        """The writer's thread."""
        while not self.stop:
            self.wake.wait(WRITE_EVERY_S)
            self.wake.clear()
            self.write()

    def write(self) -> None:
        """Write what is waiting, in one transaction; rows that another process has written meanwhile are the same."""
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
