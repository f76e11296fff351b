"""The command line. Each command is a function in a module of its own, registered here by one line."""

from probebench.cli import listing, plugins, show
from probebench.cli.app import app, main

__all__ = ["app", "main"]

app.command("list")(listing.list_components)
app.command("show")(show.show)
app.add_typer(plugins.app, name="plugins")
