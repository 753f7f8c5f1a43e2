"""Columns at size: look-ups, repeats, codes, instants and JSON text by Arrow."""
