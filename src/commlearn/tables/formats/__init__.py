"""File formats of tables, each read as chunks of pandas rows."""
