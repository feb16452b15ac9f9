"""A report as one HTML file that needs nothing else: tables, figures as inline SVG, notes."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from client.rendering.canvas import drawing, inline_svg
from client.rendering.columns import PROBES, columns
from client.rendering.figures import draw_figures
from client.rendering.files import variant_and_state
from client.rendering.grids import Grid, grids, has_phases
from client.rendering.report import conditions, remarks
from client.rendering.text import accuracy, duration, hyperparameters, interval, plural
from client.variants import label
from contract.experiments import Report, StageLine

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 84rem; padding: 2rem 1.2rem 4rem; background: #fff; color: #17201f;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 2px solid #17201f; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p.facts { color: #4c5957; margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; border-bottom: 1px solid #d8dedd; }
thead th { vertical-align: bottom; border-bottom: 2px solid #17201f; font-weight: 600; }
th[scope=row], .text { text-align: left; }
th[scope=row] { font-weight: 600; white-space: pre; }
td { white-space: pre; }
td.wide { white-space: normal; min-width: 9rem; }
tr.odd { background: #f5f7f7; }
figure { margin: 1rem 0 2rem; }
figcaption { color: #4c5957; font-size: .87rem; max-width: 60rem; margin-top: .3rem; }
svg { display: block; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
ul { padding-left: 1.2rem; }
li { margin: .2rem 0; }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; }
@media print { body { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""
_SHADED = ' class="odd"'


def write_html(report: Report) -> str:
    """The report as a page; dark on white on every screen and on paper."""
    body = "".join(
        [_head(report), _variants(report), *_grids(report), *_figures(report), _stages(report), _notes(report)]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.name)} · stagetune</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    facts = [
        f"{report.dataset}: {report.train:,} training, {report.validation:,} validation, {report.test:,} test images",
        report.preprocessing, plural(len(report.seeds), "seed"), report.state,
    ]  # fmt: skip
    lines = "".join(f'<p class="facts">{escape(line)}</p>\n' for line in [" · ".join(facts), *conditions(report)])
    return f"<h1>{escape(report.name)}</h1>\n{lines}"


def _variants(report: Report) -> str:
    shown, phases = [column for column in columns(report) if column not in PROBES], has_phases(report)
    headings = [*(("phase",) if phases else ()), "variant", *(column.heading for column in shown)]
    rows = [
        [*((str(line.phase + 1),) if phases else ()), variant_and_state(line), *(column.cell(line) for column in shown)]
        for line in report.variants
    ]
    return f"<h2>Total against Partial Learning</h2>\n{_table(headings, rows, phases + 1)}"


def _grids(report: Report) -> Iterator[str]:
    for grid in grids(report):
        yield _section(grid)


def _section(grid: Grid) -> str:
    return f"<h2>{escape(grid.title)}</h2>\n{_table(grid.headings, grid.rows, grid.texts)}"


def _figures(report: Report) -> Iterator[str]:
    phases = sorted({line.phase for line in report.variants})
    with drawing():
        for phase in phases:
            drawn = draw_figures(report, phase)
            if drawn:
                yield f"<h2>Figures{f', phase {phase + 1}' if len(phases) > 1 else ''}</h2>\n"
            for item in drawn:
                picture = inline_svg(item.figure, f"p{phase + 1}-{item.name}")
                named = picture.replace("<svg", f'<svg role="img" aria-label="{escape(item.caption)}"', 1)
                yield f"<figure>\n{named}<figcaption>{escape(item.caption)}</figcaption>\n</figure>\n"


def _stages(report: Report) -> str:
    """A line for each stage of each variant."""
    phases = has_phases(report)
    headings = [
        *(("phase",) if phases else ()), "variant", "stage", "layers", "epochs", "lr / regularization", "chosen from",
        "validation acc.", "head test acc.", "k-NN test acc.", "trials", "pruned", "diverged", "failed",
        f"training (seed {report.seeds[0]})" if len(report.seeds) > 1 else "training",
        "features", "search", "remarks",
    ]  # fmt: skip
    rows = []
    for line in report.variants:
        other = f"of seed {line.seed}" if line.seed not in {None, report.seeds[0]} else ""
        for number, stage in enumerate(line.stages, start=1):
            name = label(line) if number == 1 else ""
            lead = (str(line.phase + 1) if number == 1 else "", name) if phases else (name,)
            rows.append([*lead, str(number), *_stage(stage, other)])
    return f"<h2>Stages</h2>\n{_table(headings, rows, phases + 1, more_texts=(phases + 2, len(headings) - 1))}"


def _stage(stage: StageLine, seed: str) -> list[str]:
    """``seed`` is a remark on another than the first."""
    reached = accuracy(stage.validation_accuracy)
    if stage.confirmed_accuracy is not None:
        reached += f" ({accuracy(stage.confirmed_accuracy)} confirmed)"
    flags = [
        stage.state if stage.state != "decided" else "",
        "taken over" if stage.reused else "",
        f"shared with {stage.shared_with}" if stage.shared_with else "",
        _drop(stage),
        "second round" if stage.second_round else "",
        seed,
    ]
    return [
        stage.stage, str(stage.epochs or "-"), hyperparameters(stage.hyperparameters), stage.origin or "-",
        reached, interval(stage.head_test_accuracy), interval(stage.knn_test_accuracy),
        str(stage.trials), str(stage.pruned), str(stage.diverged), str(stage.failed), duration(stage.training_seconds),
        duration(stage.feature_seconds), duration(stage.search_seconds),
        ", ".join(filter(None, flags)),
    ]  # fmt: skip


def _drop(stage: StageLine) -> str:
    if not stage.stagnating:
        return ""
    return f"below its prefix, {'beyond' if stage.stagnating_beyond_noise else 'within'} the noise"


def _notes(report: Report) -> str:
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in remarks(report))
    return f"<h2>Notes</h2>\n<ul>\n{lines}</ul>\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int, more_texts: Sequence[int] = ()) -> str:
    """The first ``texts`` columns and those in ``more_texts`` are words; the last of the first heads the row."""

    def cell(number: int, text: str) -> str:
        if number == texts - 1:
            return f'<th scope="row">{escape(text)}</th>'
        return f"<td{_words(number, texts, more_texts)}>{escape(text)}</td>"

    head = "".join(
        f'<th scope="col"{_words(number, texts, more_texts)}>{escape(name)}</th>'
        for number, name in enumerate(headings)
    )
    body = "".join(
        f"<tr{_SHADED if index % 2 else ''}>{''.join(cell(n, text) for n, text in enumerate(row))}</tr>\n"
        for index, row in enumerate(rows)
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'


def _words(number: int, texts: int, more_texts: Sequence[int]) -> str:
    if number in more_texts:
        return ' class="text wide"'
    return ' class="text"' if number < texts else ""
