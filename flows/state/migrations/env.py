"""Run migrations on the connection that flows.state.store hands over."""

from alembic import context

from flows.state.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
