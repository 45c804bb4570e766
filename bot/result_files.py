"""The files that go with a result: pictures drawn from its numbers, and a check's whole report."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from bot import cards, check_cards
from bot.limits import FILE_BYTES
from training.charts import loss_chart
from training.evaluation.schema import CheckReport
from training.pictures import matrices, radar
from training.schema import Report

Files = dict[str, bytes]


def of_training(report: Report) -> Files:
    """The loss curve."""
    if not report.curve:
        return {}
    return {cards.CHART_FILE: loss_chart(report.curve, title=f"{report.spec.job_name}: loss")}


def of_check(found: CheckReport, names: Mapping[str, str]) -> Files:
    """The two heat maps, the radar against what was there before if anything was, and the report as it is.

    names: of the personas, by slug.
    """
    files: Files = {}
    if found.sounds_like.rows or found.gains.rows:
        files[check_cards.MATRICES_FILE] = matrices(found.sounds_like, found.gains, names)
    if found.before is not None:
        files[check_cards.RADAR_FILE] = radar(found.lines, found.before.lines)
    return files | whole_report(found)


def whole_report(found: CheckReport) -> Files:
    """`report.json` as a worker keeps it, or gzipped, or nothing, by the size that Discord takes."""
    written = found.model_dump_json(indent=1).encode()
    if len(written) <= FILE_BYTES:
        return {check_cards.REPORT_FILE: written}
    packed = gzip.compress(written, mtime=0)
    return {f"{check_cards.REPORT_FILE}.gz": packed} if len(packed) <= FILE_BYTES else {}
