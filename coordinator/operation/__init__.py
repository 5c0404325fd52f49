"""Keeping a coordinator running: audit log, accounts, metrics, backups, population counts, API description."""
