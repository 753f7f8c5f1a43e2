"""A divided night: rows by partition, kept in files between steps."""
