"""Files of rows: CSV, JSON, Parquet and hub sets, read as they are written."""
