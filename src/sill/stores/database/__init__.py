"""The database: one writer with group commit, many readers, each change committed together with its event."""

from sqlalchemy.engine import Connection

from sill.stores.database.database import Database, Tx, open_database
from sill.stores.database.documents import Documents, Page
from sill.stores.database.schema import metadata

__all__ = ["Connection", "Database", "Documents", "Page", "Tx", "metadata", "open_database"]
