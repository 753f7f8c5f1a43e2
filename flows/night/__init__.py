"""A night without Prefect: from an open state store to a closed run."""
