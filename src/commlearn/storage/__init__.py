"""Files on disk: locks, checksums, plain formats, and reading of files that others wrote."""
