"""A board as a markdown page: the ranked table, the heat maps, what was left out, and how to read it all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from probebench.board.pages.generation_page import number
from probebench.board.pages.text import MARK, METRICS, NONE, code, figures, link, percent, size, table, with_interval
from probebench.board.published import section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.board.published import Published
    from probebench.board.ranking import Board, Place
    from probebench.board.rows import Row


def page(board: Board, folder: Path, published: Sequence[Published] = ()) -> str:
    """The page of a board.

    Args:
        board: The board.
        folder: Where the page will be: links to records are relative to it.
        published: What others state on the same dataset with the same kind of probe.
    """
    cell, name = board.newest.cell, board.newest.protocol.name
    parts = [MARK, f"# {cell.dataset.title}: {name}", _lead(board)]
    if board.places:
        parts += [_ranking(board, folder), *section(published), *_heat_maps(board)]
    if board.excluded:
        parts += ["## Not ranked", _left_out(board, folder)]
    parts += ["## How to read this", _rules(board), _document(board)]
    return "\n\n".join(parts) + "\n"


def metric_name(board: Board) -> str:
    """The board's primary metric, as a reader knows it."""
    name = board.newest.primary or "top1"
    return METRICS.get(name, name)


def name_of(place: Place) -> str:
    """A row's backbone, in italics when it is a baseline, and marked where its levels vote."""
    manner = place.row.lowest.record.readout
    mark = f" ({manner})" if manner else ""
    return f"*{code(place.label)}*{mark}" if place.row.backbone.baseline else f"{code(place.label)}{mark}"


def point_of(row: Row) -> str:
    """Where a row was read: a point, or a tap with all levels that vote."""
    chosen = row.chosen
    return code(f"{chosen.tap}@{'+'.join(row.voting)}@{chosen.pool}" if row.voting else str(chosen.point))


def _lead(board: Board) -> str:
    record = board.newest
    if not board.places:
        return "No record can be ranked yet."
    test = record.parts["test"].count
    classes = len(record.cell.dataset.classes)
    read = "from the features of a frozen backbone"
    if not record.frozen:
        read = "after training the backbone with it, end to end: **not frozen**, no match for boards of features"
    return (
        f"How well the probe {code(record.cell.probe.title)} classifies the {test:,} test images of "
        f"{code(record.cell.dataset.title)} ({classes} classes) {read}. All values "
        f"in percent; chance is {percent(1 / classes)}. *Italics*: baselines, the floor that a backbone has to beat."
    )


def _ranking(board: Board, folder: Path) -> str:
    primary = board.newest.primary
    others = [name for name in METRICS if name != primary and any(name in place.row.metrics for place in board.places)]
    main = f"{metric_name(board)} (95 % interval)"
    headers = ["Rank", "Backbone", main, "sd", "Seeds", *(METRICS[name] for name in others)]
    headers += [code(name) for name in _drawn(board)]
    headers += ["Point", "Sigma", "Dim", "Parameters", "Cost", "Precision", "s / 1000 img", "Record"]
    rows = [_line(board, place, others, folder) for place in board.places]
    return table(headers, rows, left=("Backbone", "Point", "Precision", "Record"))


def _drawn(board: Board) -> list[str]:
    """Names of the measures of drawn images that are known of some row."""
    return sorted({name for place in board.places for name in board.drawn.get(place.row.lowest.network_key, {})})


def _line(board: Board, place: Place, metrics: list[str], folder: Path) -> list[str]:
    row = place.row
    drawn = board.drawn.get(row.lowest.network_key, {})
    return [
        f"={place.rank}" if place.tied else str(place.rank),
        name_of(place),
        with_interval(row.value, row.low, row.high),
        NONE if row.sd is None else percent(row.sd),
        str(len(row.entries)),
        *(percent(row.metrics[name]) if name in row.metrics else NONE for name in metrics),
        *(number(drawn[name].value) if name in drawn else NONE for name in _drawn(board)),
        _point(row),
        NONE if row.voting else figures(row.chosen.sigma),
        str(row.chosen.dim),
        size(row.backbone.parameters),
        f"{100 * row.cost:.0f} %",
        row.lowest.record.cell.precision,
        figures(row.seconds),
        link(f"seed {row.seeds[0]}", row.lowest.path, folder),
    ]


def _point(row: Row) -> str:
    votes = "" if row.votes == len(row.entries) else f" ({row.votes} of {len(row.entries)} seeds)"
    return point_of(row) + votes


def _heat_maps(board: Board) -> list[str]:
    # Of a soft vote the map is that of its single points, none of which was measured on test.
    maps = [_heat_map(place) for place in board.places if len(place.row.heat) > 1 and not place.row.voting]
    if not maps:
        return []
    intro = (
        f"{metric_name(board)} in percent on the validation split, mean over seeds, with the best setting of the probe "
        "at each tap (row) and level (column). **Bold**: the point that was chosen and then measured on test."
    )
    return ["## Tap by level", intro, *maps]


def _heat_map(place: Place) -> str:
    heat, chosen = place.row.heat, place.row.chosen
    taps, levels = list(dict.fromkeys(tap for tap, _ in heat)), list(dict.fromkeys(level for _, level in heat))

    def value(tap: str, level: str) -> str:
        if (tap, level) not in heat:
            return NONE
        text = percent(heat[tap, level])
        return f"**{text}**" if (tap, level) == (chosen.tap, chosen.level) else text

    rows = [[code(tap), *(value(tap, level) for level in levels)] for tap in taps]
    return f"### {name_of(place)}\n\n" + table(["Tap", *(code(level) for level in levels)], rows, left=("Tap",))


def _left_out(board: Board, folder: Path) -> str:
    rows = [
        [
            code(excluded.entry.record.cell.backbone.title),
            str(excluded.entry.record.cell.seed),
            excluded.reason,
            link("record", excluded.entry.path, folder),
        ]
        for excluded in board.excluded
    ]
    return table(["Backbone", "Seed", "Reason", "Record"], rows, left=("Backbone", "Reason", "Record"))


def _rules(board: Board) -> str:
    return "\n".join(f"- **{title}.** {text}" for title, text in rules(board).items())


def rules(board: Board) -> dict[str, str]:
    """The rules a board is made by, in words."""
    from probebench.stats.significance import ALPHA

    metric, protocol = metric_name(board), board.newest.protocol
    found = {
        "Rank": f"By {metric} on the test split, mean over seeds. `=` marks a rank that rows share.",
        "Ties": "Going down the table, a row shares the rank of its group's first row unless an exact two-sided "
        "McNemar test of their per-image predictions (top-1 right or wrong, lowest common seed) gives "
        f"p < {ALPHA} after Holm's correction for all pairs of the board.",
        "Interval": "95 % Wilson score interval at the mean over seeds, for the number of test images: what other "
        "test images might have given. `sd` is the standard deviation over seeds.",
        "Point": "Tap, noise level and pooling that the features were read at; sigma is the level's noise to "
        f"signal ratio, Dim the length of the feature vector. {_choice(board)}",
        "Cost": "Share of the backbone's full forward pass (FLOPs) that reaches the tap. Seconds are for the "
        "extraction of all points in one pass, on the machine of the record; machines differ, and nothing is "
        "ranked by them.",
        "Baselines": "Set in italics, ranked with the others.",
        "Left out": "Failed cells, smoke runs (`--limit`), records made from uncommitted source, records that are "
        "stale or superseded, and rows that lack their predictions or a seed that more than half of the rows "
        "have. A board is for the protocol, the dataset and the test images of its newest usable record; records "
        "of others are stale.",
        "Protocol": f"{code(protocol.name)}, hash `{protocol.hash[:16]}`.",
        "Records": f"{board.records} ranked, {len(board.excluded)} not.",
    }
    if any(place.row.voting for place in board.places):
        found["Soft vote"] = (
            "The tap is that of the best point on val; the probe is fitted at each of its levels, in the setting that "
            "is the best there on val, and the probabilities on test are averaged. It costs a pass for each level."
        )
    if _drawn(board):
        found["Drawn images"] = (
            "Columns such as `fid@2k/test10k[inception]` say how well the same network generates; they decide no rank, "
            "and are explained with the values of real images in [generation.md](generation.md)."
        )
    if not board.places:
        del found["Point"]
    return found


def _choice(board: Board) -> str:
    record, selection = board.newest, board.newest.selection
    if selection is None:
        return ""
    origin = "the dataset's own"
    if selection.carved and selection.val_fraction is not None:
        origin = f"{100 * selection.val_fraction:g} % of train"
    return (
        f"Point and probe setting were chosen on {record.parts['val'].count:,} validation images ({origin}), never on "
        f"test. Rule: {selection.rule.rstrip('.')}."
    )


def _document(board: Board) -> str:
    text = json.dumps(board.newest.protocol.document, indent=2, sort_keys=True, ensure_ascii=False)
    return f"<details>\n<summary>The protocol in full</summary>\n\n```json\n{text}\n```\n\n</details>"
