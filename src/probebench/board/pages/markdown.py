"""A board as a markdown page: the ranked table, the heat maps, the excluded records, and how to read the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from probebench.board.pages.generation_page import four_digits
from probebench.board.pages.text import (
    EMPTY,
    MARK,
    METRICS,
    code,
    link,
    percent,
    size,
    table,
    three_digits,
    with_interval,
)
from probebench.board.published import section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.board.published import Published
    from probebench.board.ranking import Board, RankedRow
    from probebench.board.rows import Row


def board_page(board: Board, folder: Path, published: Sequence[Published] = ()) -> str:
    """Builds the page of a board.

    Args:
        board: The board.
        folder: Where the page will be: links to records are relative to it.
        published: Results of other publications on the same dataset with the same kind of probe.
    """
    cell, name = board.newest.cell, board.newest.protocol.name
    parts = [MARK, f"# {cell.dataset.title}: {name}", _introduction(board)]
    if board.ranked:
        parts += [_ranking(board, folder), *section(published), *_heat_maps(board)]
    if board.excluded:
        parts += ["## Not ranked", _excluded(board, folder)]
    parts += ["## How to read this", _rules(board), _document(board)]
    return "\n\n".join(parts) + "\n"


def metric_name(board: Board) -> str:
    """Returns the printed name of the board's primary metric."""
    name = board.newest.primary or "top1"
    return METRICS.get(name, name)


def backbone_name(ranked: RankedRow) -> str:
    """Returns a row's backbone: baselines in italics; with a mark where levels are averaged or weights are trained."""
    manner = ranked.row.lowest_seed.record.readout
    mark = f" ({manner})" if manner else ""
    return f"*{code(ranked.label)}*{mark}" if ranked.row.backbone.baseline else f"{code(ranked.label)}{mark}"


def point_name(row: Row) -> str:
    """Returns the point of a row; where levels are averaged, its tap with all of them."""
    chosen, levels = row.chosen, row.averaged_levels
    return code(f"{chosen.tap}@{'+'.join(levels)}@{chosen.pool}" if levels else str(chosen.point))


def _introduction(board: Board) -> str:
    record = board.newest
    if not board.ranked:
        return "No record can be ranked yet."
    test = record.parts["test"].count
    classes = len(record.cell.dataset.classes)
    source = "from the features of a frozen backbone"
    if not record.frozen:
        source = (
            "after training the backbone and the probe end to end: **not frozen**, so the values are not comparable "
            "with boards of features"
        )
    return (
        f"How well the probe {code(record.cell.probe.title)} classifies the {test:,} test images of "
        f"{code(record.cell.dataset.title)} ({classes} classes) {source}. All values are "
        f"in percent; chance is {percent(1 / classes)}. *Italics*: baselines, which a good backbone exceeds."
    )


def _ranking(board: Board, folder: Path) -> str:
    primary = board.newest.primary
    others = [
        name for name in METRICS if name != primary and any(name in ranked.row.metrics for ranked in board.ranked)
    ]
    main = f"{metric_name(board)} (95 % interval)"
    headers = ["Rank", "Backbone", main, "sd", "Seeds", *(METRICS[name] for name in others)]
    headers += [code(name) for name in _generation_metrics(board)]
    headers += ["Point", "Sigma", "Dim", "Parameters", "Cost", "Precision", "s / 1000 img", "Record"]
    lines = [_line(board, ranked, others, folder) for ranked in board.ranked]
    return table(headers, lines, left=("Backbone", "Point", "Precision", "Record"))


def _generation_metrics(board: Board) -> list[str]:
    """Returns the names of the metrics of generated images that at least one row has."""
    return sorted(
        {name for ranked in board.ranked for name in board.generated.get(ranked.row.lowest_seed.network_key, {})}
    )


def _line(board: Board, ranked: RankedRow, metrics: list[str], folder: Path) -> list[str]:
    row = ranked.row
    generated = board.generated.get(row.lowest_seed.network_key, {})
    return [
        f"={ranked.rank}" if ranked.tied else str(ranked.rank),
        backbone_name(ranked),
        with_interval(row.value, row.low, row.high),
        EMPTY if row.sd is None else percent(row.sd),
        str(len(row.records)),
        *(percent(row.metrics[name]) if name in row.metrics else EMPTY for name in metrics),
        *(four_digits(generated[name].value) if name in generated else EMPTY for name in _generation_metrics(board)),
        _point(row),
        EMPTY if row.averaged_levels else three_digits(row.chosen.sigma),
        str(row.chosen.dim),
        size(row.backbone.parameters),
        f"{100 * row.cost:.0f} %",
        row.lowest_seed.record.cell.precision,
        three_digits(row.seconds),
        link(f"seed {row.seeds[0]}", row.lowest_seed.path, folder),
    ]


def _point(row: Row) -> str:
    seeds = len(row.records)
    return point_name(row) + ("" if row.chosen_by == seeds else f" ({row.chosen_by} of {seeds} seeds)")


def _heat_maps(board: Board) -> list[str]:
    # With averaged levels the map would show single points, and none of them was measured on test.
    maps = [_heat_map(ranked) for ranked in board.ranked if len(ranked.row.heat) > 1 and not ranked.row.averaged_levels]
    if not maps:
        return []
    several = any(len(ranked.row.records) > 1 for ranked in board.ranked)
    bold = "the point most seeds chose; where they disagree, see the column Point" if several else "the chosen point"
    intro = (
        f"{metric_name(board)} in percent on the validation split, mean over seeds, with the best setting of the probe "
        f"at each tap (row) and level (column). **Bold**: {bold}."
    )
    return ["## Tap by level", intro, *maps]


def _heat_map(ranked: RankedRow) -> str:
    heat, chosen = ranked.row.heat, ranked.row.chosen
    taps, levels = list(dict.fromkeys(tap for tap, _ in heat)), list(dict.fromkeys(level for _, level in heat))

    def value(tap: str, level: str) -> str:
        if (tap, level) not in heat:
            return EMPTY
        text = percent(heat[tap, level])
        return f"**{text}**" if (tap, level) == (chosen.tap, chosen.level) else text

    lines = [[code(tap), *(value(tap, level) for level in levels)] for tap in taps]
    headers = ["Tap", *(code(level) for level in levels)]
    return f"### {backbone_name(ranked)}\n\n" + table(headers, lines, left=("Tap",))


def _excluded(board: Board, folder: Path) -> str:
    lines = [
        [
            code(excluded.loaded.record.cell.backbone.title),
            str(excluded.loaded.record.cell.seed),
            excluded.reason,
            link("record", excluded.loaded.path, folder),
        ]
        for excluded in board.excluded
    ]
    return table(["Backbone", "Seed", "Reason", "Record"], lines, left=("Backbone", "Reason", "Record"))


def _rules(board: Board) -> str:
    return "\n".join(f"- **{title}.** {text}" for title, text in rules(board).items())


def rules(board: Board) -> dict[str, str]:
    """Returns the rules of a board in words, by title."""
    from probebench.stats.intervals import ACCURACY_INTERVAL
    from probebench.stats.significance import ALPHA

    metric, protocol = metric_name(board), board.newest.protocol
    found = {
        "Rank": f"By {metric} on the test split, mean over seeds. `=` marks a rank that several rows share.",
        "Ties": "From the top of the table down, a row shares the rank of its group's first row unless an exact "
        "two-sided McNemar test of their per-image predictions (top-1 right or wrong, lowest common seed) gives "
        f"p < {ALPHA} after Holm's correction for all pairs of the board.",
        "Interval": f"{ACCURACY_INTERVAL} at the mean over seeds, for the number of test images. It shows how "
        "much the value depends on the choice of test images; `sd`, the standard deviation over seeds, shows how much "
        "it depends on the seed.",
        "Point": "Tap, noise level and pooling of the features; Sigma is the noise-to-signal ratio of the level, Dim "
        f"the length of the feature vector. {_choice(board)}",
        "Cost": "Share of the backbone's full forward pass (FLOPs) up to the tap. Seconds are for the "
        "extraction of all points in one pass, on the machine of the record; machines differ, so nothing is "
        "ranked by seconds.",
        "Baselines": "In italics, ranked with the other rows.",
        "Left out": "Failed cells, smoke runs (`--limit`), records made from uncommitted source, records that are "
        "stale or superseded, and rows that lack their predictions or a seed that more than half of the rows "
        "have. A board is for the protocol, the dataset and the test images of its newest usable record; records "
        "with others are stale.",
        "Protocol": f"{code(protocol.name)}, hash `{protocol.hash[:16]}`.",
        "Records": f"{board.record_count} ranked, {len(board.excluded)} not ranked.",
    }
    if any(ranked.row.averaged_levels for ranked in board.ranked):
        found["Soft vote"] = (
            "The tap is that of the best point on val. The probe is trained at each level of this tap, with the "
            "setting that is best on val at that level, and the probabilities on test are averaged. Each level costs "
            "one forward pass."
        )
    if _generation_metrics(board):
        found["Generated images"] = (
            "Columns such as `fid@2k/test10k[inception]` show how well the same network generates. They decide no "
            "rank; [generation.md](generation.md) explains them and gives the values of real images."
        )
    if not board.ranked:
        del found["Point"]
    return found


def _choice(board: Board) -> str:
    record, selection = board.newest, board.newest.selection
    if selection is None:
        return ""
    origin = "the dataset's own split"
    if selection.carved and selection.val_fraction is not None:
        origin = f"{100 * selection.val_fraction:g} % of train"
    return (
        f"Point and probe setting were chosen on {record.parts['val'].count:,} validation images ({origin}), never on "
        f"test. Rule: {selection.rule.rstrip('.')}."
    )


def _document(board: Board) -> str:
    text = json.dumps(board.newest.protocol.document, indent=2, sort_keys=True, ensure_ascii=False)
    return f"<details>\n<summary>The full protocol</summary>\n\n```json\n{text}\n```\n\n</details>"
