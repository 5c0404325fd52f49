"""Keeping a coordinator running: audit log, accounts of operators, metrics, backups, population counts, API description."""
