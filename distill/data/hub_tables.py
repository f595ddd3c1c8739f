"""A data set of the Hub, or of a folder, as the library `datasets` prepares it, with limits on what it unpacks to.

What it says of its own size is believed where it says too much; the rest is counted while it is unpacked. Nothing in a
data set is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distill.config.errors import UserError
from distill.config.limits import limit
from distill.data.limits import limited
from distill.data.parquet import unpacked_sizes

_BATCH, _AT_ONCE = 64, 100_000_000  # rows of Parquet that are unpacked at a time, and their bytes


def load_table(name: str, subset: str | None, split: str | None, **place: Any) -> Any:
    """The rows of a data set, on disk. Raises UserError where they take too much, and what `datasets` raises."""
    from datasets import load_dataset_builder  # seconds, and only for those who use it

    most = int(limit("TABLE_GB") * 1e9)
    builder = load_dataset_builder(name, subset, **place)
    if max(builder.info.dataset_size or 0, builder.info.download_size or 0) > most:
        raise UserError(_said(name))
    _bound(builder, name, most)
    with limited(file=most):  # of what is unpacked before it is looked at, such as .gz
        builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _bound(builder: Any, name: str, most: int) -> None:
    """Have a builder stop as soon as its tables are too large; those of Parquet are measured before they are made."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    make, taken = getattr(builder, "_generate_tables", None), 0
    if make is None:  # it makes rows one by one, of media files
        return
    packed = isinstance(builder, Parquet)
    if packed:
        builder.config.batch_size = _BATCH

    def bounded(*args: Any, **kwargs: Any) -> Iterator[Any]:
        nonlocal taken
        for file in kwargs.get("files", ()) if packed else ():
            sizes = unpacked_sizes(file, _BATCH, most)
            taken += sum(sizes)
            if taken > most or max(sizes) > _AT_ONCE:
                raise UserError(_said(name))
        for key, table in make(*args, **kwargs):
            taken += 0 if packed else table.nbytes
            if taken > most:
                raise UserError(_said(name))
            yield key, table

    builder._generate_tables = bounded


def _said(name: str) -> str:
    return (
        f"The data set {name} unpacks to more than is read ({limit('TABLE_GB'):g} GB in all its splits, "
        f"{_AT_ONCE / 1e6:.0f} MB in {_BATCH} rows): take a smaller one, give some of its rows as a file "
        "(data.source=file), or set DISTILL_TABLE_GB on a machine of your own."
    )
