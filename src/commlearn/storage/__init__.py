"""Files on disk: locks, checksums, plain formats, and safe reading of files from other sources."""
