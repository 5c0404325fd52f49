"""May a load balancer send devices here?"""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from coordinator.errors import CoordinatorError
from coordinator.service import Coordinator
from coordinator.storage.tables import meta


class Readiness(msgspec.Struct, frozen=True):
    """Each check by name; ready when all hold."""

    ready: bool
    checks: dict[str, bool]


def readiness(coordinator: Coordinator) -> Readiness:
    """Draining, database and release keys."""
    checks = {"not_draining": not coordinator.stopping.is_set(), "database": True, "releases": True}
    try:
        with coordinator.database.reading() as connection:
            connection.scalar(select(meta.c.value).limit(1))
    except SQLAlchemyError:
        checks["database"] = False
    if coordinator.publisher is not None and checks["database"]:
        try:
            coordinator.publisher.bring_up_to_date()
        except (CoordinatorError, SQLAlchemyError, OSError):
            checks["releases"] = False
    return Readiness(all(checks.values()), checks)
