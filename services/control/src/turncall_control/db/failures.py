"""What Postgres refuses, in the words of a request's errors."""

from typing import Final

from psycopg import errors as pg
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoSession

from turncall_control.errors import Conflict, ControlError, Invalid, Unavailable

FAILURES: Final = (DBAPIError, pg.Error, PoolTimeout, NoSession)
"""What SQLAlchemy, psycopg and its pool raise."""

_AWAY: Final = (pg.OperationalError, pg.InterfaceError)
_RACES: Final = (pg.SerializationFailure, pg.DeadlockDetected, pg.LockNotAvailable)


def is_away(error: BaseException) -> bool:
    """Whether the failure says that the database cannot be reached, or not in time."""
    return isinstance(translated(error), Unavailable)


def translated(error: BaseException) -> ControlError | None:
    """The request's error for a failure of the database; None when it is a defect of ours.

    A breach of a unique or foreign key that no slice foresaw is a lost race: somebody else stored or deleted first.
    """
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, pg.UniqueViolation):
        return Conflict("something with the same name or identity is already stored")
    if isinstance(cause, pg.ForeignKeyViolation):
        return Conflict("something that this refers to, or that refers to it, has just changed; read it again")
    if isinstance(cause, _RACES):
        return Conflict("another request changed the same thing at the same moment; try again")
    if isinstance(cause, pg.DataError):
        return Invalid("a value cannot be stored: it is out of range or holds a NUL character")
    if isinstance(cause, pg.QueryCanceled):
        return Unavailable("the database took too long")
    if isinstance(cause, (*_AWAY, PoolTimeout, NoSession)):
        return Unavailable("the database cannot be reached")
    return None
