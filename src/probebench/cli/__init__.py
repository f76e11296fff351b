"""The command line: parses arguments, calls the other packages, prints results.

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

app.command("run", help="Probe the features of backbones on datasets")(with_run_options(run.run))
app.command("train", help="Train a backbone, or resume an interrupted training")(train.train)
app.command("sample", help="Generate images with a backbone, or resume an interrupted run")(sample.sample)
app.command("list", help="List the installed backbones, datasets and probes")(listing.list_components)
app.command("show", help="Show a component: options, licence, requirements, taps and levels, or splits")(show.show)
app.command("check", help="Check a component against its contract, or the file of a record")(check.check)
app.command("score", help="Count the votes of stored neighbours with any k, temperature and vote")(score.score)
app.command("compare", help="Compare two records image by image: difference, interval and McNemar test")(
    compare.compare
)
app.command("confusion", help="Plot the confusion matrix of a record")(confusion.confusion)
app.command("similarity", help="Compare the taps of two backbones by CKA and CKNNA")(similarity.similarity)
app.command("plot", help="Plot records: accuracy by epoch and block, heat maps, comparisons of backbones")(plot.plot)
app.command("schema", help="Print the JSON Schema of a record")(schema.schema)
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(data.app, name="data")
app.add_typer(protocol.app, name="protocol")
app.add_typer(store.app, name="store")
app.add_typer(plugins.app, name="plugins")
