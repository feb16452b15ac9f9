"""All SQLAlchemy: transactions, tables, and one repository per aggregate."""

from service.storage.engine import Storage, Transaction

__all__ = ["Storage", "Transaction"]
