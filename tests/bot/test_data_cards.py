"""What people read of datasets: figures first, harmless, and within Discord's limits whatever a file held."""

from __future__ import annotations

from typing import Any

import pytest

from bot import data_cards
from bot.limits import CHOICE_NAME, CONTENT, width
from tasks.jobs import Catalog, Event, Job, JobState
from tests.bot.samples import JOB_ID, KINDS, NASTY, USER, origin
from tests.bot.test_cards import assert_fits, assert_harmless, text_of
from training.data.schema import (
    DataAction,
    DataReport,
    DatasetCard,
    DatasetOffer,
    DataSpec,
    Inspection,
    RowProblem,
    Source,
    Step,
    Upload,
)
from training.schema import Conversation, Message, Problem, Progress

GUILD = origin().guild_id
OFFERS = {
    "general": DatasetOffer(name="general", where="shipped", license="MIT", lang="en", conversations=300),
    "lore": DatasetOffer(name="lore", where="guild", license="", lang="zh", conversations=1, restricted=True),
    "mika": DatasetOffer(name="mika", where="guild", license="MIT", lang="en", conversations=40, persona="mika"),
    "oasst2": DatasetOffer(
        name="oasst2", where="hub", license="Apache-2.0", lang="mul", rows=9000, good_for="Good talk."
    ),
}
CATALOG = Catalog(personas={"mika": "Mika"}, datasets=OFFERS, base_model="standin", rehearsal=True)


def inspection(**changes: Any) -> Inspection:
    plain: dict[str, Any] = {"format": "messages", "rows": 12, "used": 10, "conversations": 10, "turns": 24}
    dropped = {"languages": {"en": 9, "zh": 1}, "dropped": {"no assistant turn": 2}}
    problems = {"problems": (RowProblem(row=7, why="no assistant turn"),)}
    return Inspection.model_validate({**plain, **dropped, **problems, **changes})


def card(**changes: Any) -> DatasetCard:
    plain: dict[str, Any] = {"name": "lore", "made_at": "2026-11-25T12:00:00+00:00", "version": "0123456789ab"}
    plain |= {"sources": (Source(name="lore", conversations=9),), "licenses": ("unknown",), "conversations": 9}
    plain |= {"turns": 22, "languages": {"en": 8, "zh": 1}}
    plain |= {"steps": (Step(name="exact duplicates", before=10, after=9, removed={"duplicate": 1}),)}
    return DatasetCard.model_validate({**plain, **changes})


def spec(action: DataAction = DataAction.UPLOAD, **changes: Any) -> DataSpec:
    plain: dict[str, Any] = {"action": action, "guild_id": GUILD, "name": "lore"}
    if action is DataAction.UPLOAD:
        plain["upload"] = Upload(url="https://x/", filename="rows.jsonl", size=2048)
    return DataSpec.model_validate({**plain, **changes})


def event(asked: DataSpec, state: JobState = JobState.RUNNING, **more: Any) -> Event:
    job = Job(id=JOB_ID, kind="data", spec=asked, origin=origin(), created_at=0)
    return Event(job_id=JOB_ID, seq=2, kind=KINDS[state], state=state, at=0, job=job, **more)


def test_an_uploads_card_counts_rows() -> None:
    embed = data_cards.data_card(event(spec(), progress=Progress(phase="data", step=1401)), CATALOG)
    assert embed.title == "🔵 **lore** · upload running"
    assert (embed.description or "").splitlines() == ["rows.jsonl · 2 KiB", "1,401 rows read so far."]


def test_an_uploads_result_says_what_was_left_out_and_what_comes_next() -> None:
    report = DataReport(action=DataAction.UPLOAD, name="lore", card=card(), inspection=inspection())
    ended = event(spec(), JobState.SUCCEEDED, data=report)
    assert data_cards.result_text(ended) == f"<@{USER}> **lore** is ready to learn from."
    text = text_of(*data_cards.result_embeds(ended, CATALOG))
    for part in (
        "9 conversations · 22 turns · en 8, zh 1",
        "12 rows read as chat messages: 10 used, 2 left out",
        "2 × no assistant turn",
        "Row 7: no assistant turn",
        "1 × duplicate",
        "`/finetune start job_name:lore_v1 task_type:dialogue dataset:lore`",
        f"Result of job {JOB_ID}",
    ):
        assert part in text


def test_a_build_tells_what_it_is_made_of() -> None:
    asked = spec(DataAction.BUILD, name="mika", persona="mika", general="general", persona_share=0.75)
    embed = data_cards.data_card(event(asked, progress=Progress(phase="data", step=0, total_steps=7)), CATALOG)
    lines = (embed.description or "").splitlines()
    assert lines == ["Dialogues of Mika · mixed 75:25 with general", "Writing persona 1 of 7."]
    sources = (Source(name="mika", conversations=3), Source(name="mul", conversations=1))
    report = DataReport(action=DataAction.BUILD, name="mika", card=card(name="mika", persona="mika", sources=sources))
    text = text_of(*data_cards.result_embeds(event(asked, JobState.SUCCEEDED, data=report), CATALOG))
    assert "From mika 3, mul 1" in text
    assert "`/finetune start job_name:mika_v1 task_type:persona persona:mika dataset:mika`" in text


def test_the_list_tells_what_is_whose() -> None:
    text = text_of(data_cards.dataset_list(CATALOG))
    own, shipped, hub = (text.index(part) for part in ("__Made here__", "__Come with Understudy__", "__Fetched when"))
    assert own < shipped < hub
    assert "⚠ **lore** · 1 conversation · zh · no licence stated" in text
    assert "**mika** · 40 conversations · dialogues of Mika · en · MIT" in text
    assert "**oasst2** · 9,000 rows · many languages · Apache-2.0 · Good talk." in text


def test_a_list_too_long_for_a_message_says_how_many_are_left_out() -> None:
    many = {
        f"d{n}": DatasetOffer(name=f"d{n}", where="guild", license="MIT", lang="en", description="x" * 90)
        for n in range(100)
    }
    embed = data_cards.dataset_list(CATALOG.model_copy(update={"datasets": many}))
    assert_fits(embed)
    shown = (embed.description or "").count("**d")
    assert f"… and {100 - shown} more; /dataset info knows each." in (embed.description or "")


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nothing_that_a_file_holds_breaks_a_card(text: str) -> None:
    turns = (Message(role="user", content=text or "x"), Message(role="assistant", content=text or "x")) * 3
    rows = [Conversation(id=text, source=text, lang=text or "x", messages=turns)] * 3
    found = inspection(
        format=text or "x",
        languages={text: 1},
        dropped={f"{text}{n}": n for n in range(30)},
        problems=tuple(RowProblem(row=n, why=text) for n in range(20)),
    )
    made = card(licenses=(text,) * 9, notes=(text,) * 9, sources=(Source(name=text, conversations=2),) * 9)
    named = spec(upload=Upload(url="https://x/", filename=text[:260] or "x", size=10**9), general=text[:400])
    ended = event(named, JobState.SUCCEEDED, data=DataReport(action="upload", name="x", card=made, inspection=found))
    failed = event(named, JobState.FAILED, problem=Problem(code=text, sentence=text))
    offer = OFFERS["general"].model_copy(update={"description": text, "lang": text, "license": text})
    shown = [
        data_cards.result_embeds(ended, None),
        data_cards.result_embeds(failed, None),
        [data_cards.data_card(failed, None)],
        [data_cards.validated_card(text, found)],
        [data_cards.refused_card(text, Problem(code=text, sentence=text))],
        [data_cards.info_card(offer, made, CATALOG)],
        data_cards.preview_embeds("lore", rows),
    ]
    for embeds in shown:
        assert_fits(*embeds)
        assert_harmless(text_of(*embeds))
    assert width(data_cards.dataset_choice(offer)) <= CHOICE_NAME
    assert width(data_cards.really_delete(offer)) <= CONTENT
