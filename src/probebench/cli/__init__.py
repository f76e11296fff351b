"""The command line: words into calls, results into text.

Each command is a function in a module of `commands`, registered here by one line.
"""

from probebench.cli.app import app, main
from probebench.cli.commands import (
    check,
    compare,
    confusion,
    data,
    leaderboard,
    listing,
    plot,
    plugins,
    protocol,
    run,
    sample,
    schema,
    score,
    show,
    similarity,
    store,
    train,
)
from probebench.cli.settings import with_run_options

__all__ = ["app", "main"]

app.command("run")(with_run_options(run.run))
app.command("train")(train.train)
app.command("sample")(sample.sample)
app.command("list")(listing.list_components)
app.command("show")(show.show)
app.command("check")(check.check)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("confusion")(confusion.confusion)
app.command("similarity")(similarity.similarity)
app.command("plot")(plot.plot)
app.command("schema")(schema.schema)
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(data.app, name="data")
app.add_typer(protocol.app, name="protocol")
app.add_typer(store.app, name="store")
app.add_typer(plugins.app, name="plugins")
