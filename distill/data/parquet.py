"""The rows of a Parquet file, one after another, with limits on what it may unpack to.

Such files are packed: a few kilobytes may stand for gigabytes. So text is read as it is stored, each value once
(pyarrow's dictionaries), and measured before it is unpacked. pyarrow is imported when a file is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.config.errors import UserError

MAX_UNPACKED = 200_000_000  # bytes of all columns together
MAX_VALUES = 2_000_000  # of a column: where it holds lists, more than it has rows
MAX_VALUE = 1_000_000  # bytes of one text
MAX_LIST = 1_000  # items of one list

_BATCH = 64  # rows unpacked at a time


def parquet_records(
    path: Path, most_rows: int, wanted: Iterable[str] | None = None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(number of the row from 1, its columns by name or what is wrong with it), of the `wanted` columns or all.

    Raises UserError, one sentence, where it is no Parquet file, is damaged or unpacks to too much.
    """
    import pyarrow as pa

    number = 0
    try:
        file, names = _opened(path, most_rows)
        kept = [name for name in names if wanted is None or name in set(wanted)]
        for batch in file.iter_batches(batch_size=_BATCH, columns=kept):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if _longest(column) > MAX_VALUE:
                    raise UserError(
                        f"{path.name} has a value of more than {MAX_VALUE / 1e6:.0f} MB in {name!r}: leave it out."
                    )
            for row in range(batch.num_rows):
                number += 1
                yield number, _record(batch, row)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise UserError(f"{path.name} can't be read as Parquet ({said}): save it again.") from error


def _opened(path: Path, most_rows: int) -> tuple[Any, Sequence[str]]:
    """(the file, the names of its columns), if it says that it holds no more than may be read."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    leaves = pq.ParquetFile(path).schema
    texts = [leaves.column(i).path for i in range(len(leaves)) if leaves.column(i).physical_type == "BYTE_ARRAY"]
    file = pq.ParquetFile(path, read_dictionary=texts)
    about = file.metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    if about.num_rows > most_rows:
        raise UserError(f"{path.name} has more than {most_rows:,} rows, the most that are read: give fewer.")
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > MAX_UNPACKED or sum(chunk.num_values for chunk in chunks) > MAX_VALUES * max(1, len(leaves)):
        raise UserError(
            f"{path.name} unpacks to {unpacked / 1e6:,.0f} MB, more than is read ({MAX_UNPACKED / 1e6:.0f} MB, "
            f"{MAX_VALUES:,} values in a column): give fewer rows."
        )
    return file, schema.names


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


def _record(batch: Any, row: int) -> dict[str, Any] | str:
    """A row's columns by name, or what is wrong with it."""
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        value = column[row]
        if hasattr(value, "values") and value.is_valid and len(value) > MAX_LIST:
            return f"has a list of {len(value):,} items in {name!r}, more than {MAX_LIST:,}"
        try:
            record[name] = value.as_py()
        except UnicodeDecodeError:
            return f"has characters in {name!r} that are not UTF-8"
        except ValueError:  # moments finer than Python's
            record[name] = str(value)
    return record
