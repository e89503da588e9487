"""File formats of tables, each as chunks of pandas rows."""
