"""The hands: databases, essentry, state, reports, Prefect flows and the command line."""
