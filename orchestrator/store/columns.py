"""What the tables are made of: the metadata that they share, and the columns that most of them have."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Integer, MetaData, Text, func
from sqlalchemy import text as sql

FIRST_ID = 32**4  # public ids have five digits from the start

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def row_id() -> Column[int]:
    """The number inside a public id."""
    return Column("id", BigInteger, Identity(always=True, start=FIRST_ID), primary_key=True)


def time(name: str, *, now: bool = False, comment: str | None = None) -> Column[object]:
    """A time; with `now`, that of the insert, by the database's clock."""
    default = func.clock_timestamp() if now else None
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=default, comment=comment)


def text(name: str, *, default: str | None = None, nullable: bool = False, comment: str | None = None) -> Column[str]:
    """Text that is there, unless it is said to be nullable."""
    return Column(name, Text, nullable=nullable, server_default=default, comment=comment)


def reference(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    """The id of a row of another table."""
    return Column(name, BigInteger, ForeignKey(target), nullable=nullable)


def counter(name: str) -> Column[int]:
    """A number that begins at 0."""
    return Column(name, Integer, nullable=False, server_default=sql("0"))
