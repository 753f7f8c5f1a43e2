"""Run migrations on the connection that flows.state hands over."""

from alembic import context

from flows.state_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
