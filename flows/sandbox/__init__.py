"""A local essentry: it enforces the documented rules of the API, and fails when it is told to."""
