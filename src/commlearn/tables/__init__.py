"""Tables of one's own: read, described by a schema, checked, split and streamed."""
