"""What alembic runs: the revisions, on the connection that `sill.stores.migrate` holds open."""

from alembic import context

from sill.stores.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
    compare_type=True,
    user_module_prefix="sa.",
)
with context.begin_transaction():
    context.run_migrations()
