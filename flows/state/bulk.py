"""Many rows of the state store at once: frames from a SELECT, and frames appended to a table. No
rules.

PostgreSQL by ADBC. SQLite by the cursor of Python's own driver: ADBC brings a second SQLite
library, and two of them on one file in one process would drop each other's locks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import adbc_driver_manager
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from flows.connections.bulk import BulkReadError, connect, open_reader
from flows.state.tables import FLAGS, INSTANTS, NUMBERS

# few rows at once stay in the processor's cache, and cost the garbage collector nothing
CHUNK_ROWS = 1_000
_TEXT = pa.large_string()
_TYPES = {
    **dict.fromkeys(INSTANTS, pa.timestamp("us", "UTC")),
    **dict.fromkeys(NUMBERS, pa.int64()),
    **dict.fromkeys(FLAGS, pa.bool_()),
}
_PANDAS = {
    _TEXT: pd.StringDtype(na_value=float("nan")),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def read_rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    *,
    ordered_by: str,
    coded: Collection[str] = (),
) -> pd.DataFrame:
    """Rows as a frame with text, Int64, boolean and UTC instants (microseconds), ascending by a
    column. Raises BulkReadError.

    coded: text columns to give as categorical ones, because few texts repeat in many rows.
    """
    names = [column.name for column in query.selected_columns]
    if connection.dialect.name == "sqlite":
        batches: Iterable[pa.RecordBatch] = _read_sqlite(connection, query, names)
        table = pa.Table.from_batches(_shape(batches, coded), schema=_shape_schema(names, coded))
    else:
        with open_reader(connection.engine.url) as reader, reader.stream(query) as found:
            table = pa.Table.from_batches(_shape(found, coded), schema=_shape_schema(names, coded))
    table = table.unify_dictionaries().sort_by(ordered_by).combine_chunks()
    return table.to_pandas(types_mapper=_PANDAS.get, split_blocks=True, self_destruct=True)


def _read_sqlite(
    connection: sa.Connection, query: sa.Select[Any], names: list[str]
) -> Iterator[pa.RecordBatch]:
    compiled = query.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    result = connection.exec_driver_sql(
        compiled.string, tuple(compiled.params[name] for name in compiled.positiontup or [])
    )
    schema = pa.schema(
        [(name, pa.int64() if name in NUMBERS | INSTANTS | FLAGS else _TEXT) for name in names]
    )
    while rows := result.cursor.fetchmany(CHUNK_ROWS):
        columns = [
            pa.array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
    result.close()


def _shape(batches: Iterable[pa.RecordBatch], coded: Collection[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        schema = _shape_schema(batch.schema.names, coded)
        columns = [
            _typed(name, column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(
            [
                column.dictionary_encode() if field.name in coded else column
                for field, column in zip(schema, columns, strict=True)
            ],
            schema=schema,
        )


def _shape_schema(names: Sequence[str], coded: Collection[str]) -> pa.Schema:
    codes = {name: pa.dictionary(pa.int32(), _TEXT) for name in coded}
    return pa.schema([(name, codes.get(name, _TYPES.get(name, _TEXT))) for name in names])


def _typed(name: str, column: pa.Array) -> pa.Array:
    if name in INSTANTS:
        return column.cast(pa.int64()).cast(_TYPES[name])
    return column.cast(_TYPES.get(name, _TEXT))


def append_rows(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> None:
    """Append a frame whose columns are the table's; on PostgreSQL in a transaction of its own.
    Raises BulkReadError.
    """
    if connection.dialect.name == "sqlite":
        insert_rows(connection, table, frame)
        return
    try:
        with closing(connect(connection.engine.url, timeout_seconds=30)) as writer:
            with writer.cursor() as cursor:
                cursor.adbc_ingest(table.name, _to_table(frame), mode="append")
            writer.commit()
    except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
        raise BulkReadError(str(error)) from error


def insert_rows(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> None:
    """Insert a frame whose columns are the table's, in the transaction of the connection. No
    parameter is processed: it is the fast way.
    """
    if frame.empty:
        return
    quote = connection.dialect.identifier_preparer.quote
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    names = ", ".join(quote(name) for name in frame.columns)
    statement = (
        f"INSERT INTO {quote(table.name)} ({names}) VALUES ({', '.join([mark] * frame.shape[1])})"
    )
    rows = zip(*(column.to_pylist() for column in _to_table(frame).columns), strict=True)
    connection.exec_driver_sql(statement, list(rows))


def _to_table(frame: pd.DataFrame) -> pa.Table:
    return pa.table({name: _plain(frame[name]) for name in frame.columns})


def _plain(column: pd.Series) -> pa.Array:
    if str(column.name) in INSTANTS:
        return pa.array(pd.to_datetime(column, utc=True).dt.as_unit("us"), from_pandas=True).cast(
            pa.int64()
        )
    if column.name in NUMBERS:
        return pa.array(column.astype("Int64"), type=pa.int64(), from_pandas=True)
    if column.name in FLAGS:
        return pa.array(column.astype("boolean"), type=pa.bool_(), from_pandas=True)
    return pa.array(column.astype("str"), type=_TEXT, from_pandas=True)
