"""Validated rows as what essentry should hold."""
