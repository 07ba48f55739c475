"""Pages a person reads: one look, self-contained, no script, no request, the same bytes for the same input."""
