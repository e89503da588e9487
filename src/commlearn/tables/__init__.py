"""The user's own tables: reading, schemas, checks, splits and streaming."""
