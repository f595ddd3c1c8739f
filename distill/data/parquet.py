"""The rows of a Parquet file, one after another, with limits on what it may unpack to.

Such files are packed: a few kilobytes may stand for gigabytes. So text is read as it is stored, each value once
(pyarrow's dictionaries), and measured before it is unpacked; only the columns asked for are read. pyarrow is imported
when a file is read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from distill.config.errors import UserError

MAX_ROW = 4_000_000  # bytes of a row, as characters of a line: two texts of 200,000 are 2.4 million as "\u0439"
MAX_UNPACKED = 100_000_000  # bytes of the columns read, as their pages are stored: five times the largest text file
MAX_VALUES = 2_000_000  # of a column: where it holds lists, more than it has rows
MAX_VALUE = 1_000_000  # bytes of one text
MAX_LIST = 1_000  # items of one list

_BATCH = 64  # rows unpacked at a time
_AT_ONCE = 8_000_000  # bytes of a batch, above which its rows are measured one by one
_SHOWN = 20_000  # bytes of a value that is shown as an example
_ITEM = 64  # bytes that Python takes for a value beside its text
# Of the file's own account of itself: more than any file of 20 MB has a use for.
_FOOTER = {"thrift_string_size_limit": 10_000_000, "thrift_container_size_limit": 100_000}


def parquet_records(
    path: Path, most_rows: int, wanted: Collection[str] | None = None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(number of the row from 1, its columns by name or what is wrong with it), of the `wanted` columns or all.

    Raises UserError, one sentence, where it is no Parquet file, is damaged or unpacks to too much.
    """
    with _Said(path):
        file = _opened(path, most_rows)
        names = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        _check_size(file, names, path.name)
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=names, use_threads=False):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if _longest(column) > MAX_VALUE:
                    raise UserError(
                        f"{path.name} has a value of more than {MAX_VALUE / 1e6:.0f} MB in {name!r}: leave it out."
                    )
            large = sum(map(_unpacked, batch.columns)) > _AT_ONCE
            for row in range(batch.num_rows):
                number += 1
                fault = _long_list(batch, row) or (_large(batch, row) if large else None)
                yield number, fault or _record(batch, row)


def parquet_columns(path: Path, most_rows: int, first: int) -> tuple[list[str], list[dict[str, Any]]]:
    """(the names of a file's columns, its `first` rows), with None for a value too large to be shown. Raises as above.

    One column is unpacked at a time, so that what nobody will read takes no room.
    """
    with _Said(path):
        file = _opened(path, most_rows)
        names = file.schema_arrow.names
        rows: list[dict[str, Any]] = [{} for _ in range(min(first, file.metadata.num_rows))]
        for name in dict.fromkeys(names):
            for batch in file.iter_batches(batch_size=max(1, len(rows)), columns=[name], use_threads=False):
                for row, record in zip(range(batch.num_rows), rows, strict=False):
                    small = sum(_unpacked(column.slice(row, 1)) for column in batch.columns) <= _SHOWN
                    value = _record(batch, row) if small else "is too large"
                    record |= value if isinstance(value, dict) else {name: None}
                break
        return names, rows


def unpacked_sizes(path: Path, rows: int, most: int) -> list[int]:
    """The bytes that so many rows of a file take once they are unpacked, and the next, found without unpacking them;
    not of all columns where those of some come to more than `most` already."""
    file, sizes = _opened(path), [0]
    for name in dict.fromkeys(file.schema_arrow.names):
        for number, batch in enumerate(file.iter_batches(batch_size=rows, columns=[name], use_threads=False)):
            sizes += [0] * (number + 1 - len(sizes))
            sizes[number] += sum(map(_unpacked, batch.columns))
        if sum(sizes) > most:
            break
    return sizes


class _Said:
    """What pyarrow raises, as one sentence about the file; that there is no memory is for the caller to say."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        import pyarrow as pa

        if isinstance(error, pa.ArrowException | OSError | ValueError) and not isinstance(error, MemoryError):
            said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            raise UserError(f"{self._path.name} can't be read as Parquet ({said}): save it again.") from error


def _opened(path: Path, most_rows: float = math.inf) -> Any:
    """The file, its texts to be read as they are stored. Raises UserError where it says that it has too many rows."""
    import pyarrow.parquet as pq

    plain = pq.ParquetFile(path, **_FOOTER)
    if plain.metadata.num_rows > most_rows:
        raise UserError(f"{path.name} has more than {most_rows:,} rows, the most that are read: give fewer.")
    leaves = map(plain.schema.column, range(len(plain.schema)))
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(path, read_dictionary=texts, **_FOOTER)


def _check_size(file: Any, names: Collection[str], table: str) -> None:
    """Raises UserError where a file says that these columns hold more than is read."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in names]
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    columns = len({chunk.path_in_schema for chunk in chunks})
    if unpacked > MAX_UNPACKED or sum(chunk.num_values for chunk in chunks) > MAX_VALUES * max(1, columns):
        raise UserError(
            f"{table} unpacks to {unpacked / 1e6:,.0f} MB, more than is read ({MAX_UNPACKED / 1e6:.0f} MB, "
            f"{MAX_VALUES:,} values in a column): give fewer rows."
        )


def _unpacked(column: Any) -> int:
    """Bytes that a column takes as Python's values, found without unpacking it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, values = column.type, len(column) * _ITEM
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(column.dictionary)
        return values + (pc.sum(lengths.take(column.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return values + sum(map(_unpacked, column.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return values + _unpacked(column.flatten())
    if pa.types.is_map(kind):
        inner = column.keys, column.items
        start, end = column.offsets[0].as_py(), column.offsets[len(column)].as_py()
        return values + sum(_unpacked(part.slice(start, end - start)) for part in inner)
    if any(like(kind) for like in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return values + (pc.sum(pc.binary_length(column)).as_py() or 0)
    return values


def _longest(column: Any) -> int:
    """Bytes of the longest text in a column, without unpacking it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _longest(column.dictionary)
    if pa.types.is_struct(kind):
        return max((_longest(column.field(i)) for i in range(kind.num_fields)), default=0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _longest(column.values)
    if any(like(kind) for like in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return pc.max(pc.binary_length(column)).as_py() or 0
    return 0


def _long_list(batch: Any, row: int) -> str | None:
    """What is wrong with a row that holds a list of too many items."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        value = column[row]
        if hasattr(value, "values") and value.is_valid and len(value) > MAX_LIST:
            return f"has a list of {len(value):,} items in {name!r}, more than {MAX_LIST:,}"
    return None


def _large(batch: Any, row: int) -> str | None:
    """What is wrong with a row that unpacks to too much."""
    size = sum(_unpacked(column.slice(row, 1)) for column in batch.columns)
    return f"unpacks to {size / 1e6:,.0f} MB, more than {MAX_ROW / 1e6:.0f}" if size > MAX_ROW else None


def _record(batch: Any, row: int) -> dict[str, Any] | str:
    """A row's columns by name, or what is wrong with it."""
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = column[row].as_py()
        except UnicodeDecodeError:
            return f"has characters in {name!r} that are not UTF-8"
        except ValueError:  # moments finer than Python's
            record[name] = str(column[row])
    return record
