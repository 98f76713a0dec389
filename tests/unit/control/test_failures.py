"""What the database refuses, in the words of a request's errors."""

import pytest
from psycopg import errors as pg
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoSession

from turncall_control.db.failures import translated
from turncall_control.errors import Conflict, Invalid, Unavailable

SECRET = "host=db password=hunter2"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (pg.UniqueViolation(SECRET), Conflict),
        (IntegrityError("insert …", {}, pg.UniqueViolation(SECRET)), Conflict),
        (IntegrityError("insert …", {}, pg.ForeignKeyViolation(SECRET)), Conflict),
        (pg.SerializationFailure(SECRET), Conflict),
        (pg.DeadlockDetected(SECRET), Conflict),
        (pg.DataError(SECRET), Invalid),
        (pg.NumericValueOutOfRange(SECRET), Invalid),
        (pg.OperationalError(SECRET), Unavailable),
        (pg.AdminShutdown(SECRET), Unavailable),
        (pg.QueryCanceled(SECRET), Unavailable),
        (OperationalError("select …", {}, pg.OperationalError(SECRET)), Unavailable),
        (PoolTimeout(SECRET), Unavailable),
        (NoSession(SECRET), Unavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_failure_is_told_without_its_own_words(failure, kind):
    """Each failure becomes the error that a caller can act on, and nothing of its message gets out."""
    error = translated(failure)
    assert type(error) is kind
    assert "hunter2" not in error.detail


@pytest.mark.parametrize("failure", [pg.UndefinedTable("x"), pg.InsufficientPrivilege("x"), RuntimeError("x")])
def test_defect_of_ours_is_no_request_error(failure):
    """A missing table or right is a 500, logged with its trace."""
    assert translated(failure) is None
