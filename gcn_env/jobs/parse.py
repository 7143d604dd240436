"""Files to columns: gzip, CSV, Standard Workload Format, Parquet; errors name file, row and remedy.

Plain Python and NumPy: `numpy.genfromtxt` takes seconds for the 60,000 rows that this reads in a tenth of
one, and pandas is not a dependency.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.signals.errors import DataError, MissingDataError

Array = npt.NDArray[Any]
Columns = dict[str, Sequence[str]]

SWF_FIELDS = 18
LARGEST = 1e15  # a larger number is a slip, and products of a few of them would overflow
_DATE, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,3})?)?"
_STAMP = re.compile(f"({_DATE}(?:[T ]{_TIME})?)(?:Z|[+]00:00)?")
_STAMP_RANGE_S = (0.0, 4102444800.0)  # 1970..2100: outside it a date is a slip


def read_bytes(path: Path) -> bytes:
    """The file as stored.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is a folder, unreadable or empty.
    """
    if not path.exists():
        near = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise MissingDataError(f"{path}: no such file{near}; check the path or fetch the data")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a readable file") from error
    if not data:
        raise DataError(f"{path}: the file is empty; fetch it again")
    return data


def digest(data: bytes) -> str:
    """First twelve hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:12]


def fingerprint(path: str | Path) -> str:
    """Twelve hex digits over the file as stored: equal files have equal fingerprints."""
    return digest(read_bytes(Path(path)))


def decode(data: bytes, path: Path) -> str:
    """Text of a plain or gzip-compressed file (told apart by its first bytes, not by its name).

    Raises:
        DataError: for a corrupt or truncated gzip stream, or bytes that are not UTF-8.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: corrupt gzip file ({error}); fetch it again") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert or fetch it again") from error


def csv_columns(text: str, path: Path) -> Columns:
    """Columns of a CSV text by header name; blank lines are skipped.

    Raises:
        DataError: if there is no header, no row, a name twice, or a row of another width.
    """
    try:
        rows = [r for r in csv.reader(text.splitlines()) if r]
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    if not rows:
        raise DataError(f"{path}: no header; the first line must name the columns")
    header = [name.strip() for name in rows.pop(0)]
    twice = sorted({n for n in header if header.count(n) > 1})
    if twice:
        raise DataError(f"{path}: columns named twice: {', '.join(twice)}")
    if not rows:
        raise DataError(f"{path}: empty trace: a header but no row")
    if set(map(len, rows)) != {len(header)}:
        at = next(i for i, r in enumerate(rows) if len(r) != len(header))
        raise DataError(f"{path}: row {at + 1} has {len(rows[at])} fields, the header {len(header)}")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def swf_table(text: str, path: Path) -> tuple[Array, dict[str, str]]:
    """Standard Workload Format: float64 `[jobs, 18]` and the `; Name: value` header.

    Raises:
        DataError: for a line that has not 18 numbers, or no job at all.
    """
    header: dict[str, str] = {}
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.lstrip().startswith(";"):
            name, colon, value = line.lstrip("; \t").partition(":")
            if colon:
                header.setdefault(name.strip(), value.strip())
        elif fields := line.split():
            rows.append(fields)
    if not rows:
        raise DataError(f"{path}: empty trace: no job line (Standard Workload Format: 18 numbers a line)")
    if set(map(len, rows)) != {SWF_FIELDS}:
        at = next(i for i, r in enumerate(rows) if len(r) != SWF_FIELDS)
        raise DataError(f"{path}: job line {at + 1} has {len(rows[at])} fields, not {SWF_FIELDS}; is it SWF?")
    flat = [v for r in rows for v in r]
    table = _floats(flat, lambda i: f"job line {i // SWF_FIELDS + 1}, field {i % SWF_FIELDS + 1}", path)
    return table.reshape(-1, SWF_FIELDS), header


def parquet_columns(path: Path) -> Columns:
    """Columns of a Parquet file, as text, so that one set of checks serves both.

    Raises:
        DataError: if pyarrow is not installed, or the file is not Parquet.
    """
    try:
        pq = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet needs pyarrow: pip install 'gcn-env[parquet]' (or convert the file to CSV)"
        ) from error
    try:
        table = pq.read_table(path)
    except Exception as error:  # pyarrow's errors have no common base that is public
        raise DataError(f"{path}: not a Parquet file ({error})") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: empty trace: no row")
    return {
        name: ["" if v is None else str(v) for v in table.column(name).to_pylist()]
        for name in table.column_names
    }


def need_columns(columns: Columns, needed: Iterable[str], path: Path, hint: str = "") -> None:
    """Raise a DataError naming the first missing column, the nearest one present and the header."""
    for name in needed:
        if name not in columns:
            near = nearest(name, columns)
            raise DataError(f"{path}: no column {name!r}{near} (header: {', '.join(columns)}){hint}")


def numbers(columns: Columns, name: str, path: Path, blank: bool = False) -> Array:
    """A column as float64; NaN where it is empty, if `blank` allows that.

    Raises:
        DataError: naming row and value of the first cell that is not a finite number.
    """
    values = columns[name]
    if blank:
        values = [v or "nan" for v in values]
    return _floats(values, lambda i: f"row {i + 1}, {name}", path, blank)


def _floats(values: Sequence[str], where: Any, path: Path, blank: bool = False) -> Array:
    try:
        out = np.fromiter(map(float, values), np.float64, len(values))
    except ValueError:
        at = next(i for i, v in enumerate(values) if not _is_number(v))
        raise DataError(f"{path}: {where(at)} is {values[at]!r}, which is not a number") from None
    wrong = ~(np.abs(out) <= LARGEST)  # true for NaN
    if blank:
        wrong &= ~np.isnan(out)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"{path}: {where(at)} is {values[at]!r}; a finite number is needed")
    return out


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def stamps(columns: Columns, name: str, path: Path) -> Array:
    """A column of ISO 8601 UTC stamps as float64 seconds since 1970.

    Raises:
        DataError: naming row and value of the first cell that is no UTC stamp.
    """
    values = columns[name]
    bare = [m[1] if (m := _STAMP.fullmatch(v)) else "" for v in values]  # "" is NumPy's NaT
    try:
        seconds = np.array(bare, "datetime64[ms]").astype(np.int64) / 1e3
    except ValueError:  # a day or an hour that does not exist
        seconds = np.array([_seconds(v) for v in bare])
    inside = (seconds >= _STAMP_RANGE_S[0]) & (seconds < _STAMP_RANGE_S[1])  # NaT is far outside
    if inside.all():
        return np.asarray(seconds, np.float64)
    at = int(np.argmin(inside))
    raise DataError(
        f"{path}: row {at + 1}, {name} is {values[at]!r}; a UTC time like 2017-09-18T09:22:17Z is needed"
    )


def _seconds(bare: str) -> float:
    try:
        return float(np.datetime64(bare, "ms").astype(np.int64)) / 1e3
    except ValueError:
        return float("nan")
