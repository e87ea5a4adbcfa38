"""Importers: one file each, with `rows(table, source)`, which yields Rows and Rejects."""
