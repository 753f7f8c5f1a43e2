"""A run's report as files, its log records and metrics."""
