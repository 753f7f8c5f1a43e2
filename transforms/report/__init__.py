"""A run's report as data, and its words."""
