"""The rules of the rare commands."""
