"""What people read of checks and of the cast: ordinary cards say what they should, and no input breaks one."""

from __future__ import annotations

import gzip
import json
import random
from itertools import product

import pytest

from bot import cards, check_cards, persona_cards, result_files
from bot.buttons import card_buttons, result_buttons
from bot.errors import FactTooLong
from bot.limits import CONTENT, FILE_BYTES, FORM_TEXT, THREAD_NAME, width
from bot.persona_buttons import fact_buttons, fact_form
from bot.phrases import REHEARSAL
from bot.promotion import Candidate
from bot.relay import wanted
from bot.score_lines import NAMES, VERDICTS
from tasks.jobs import Catalog, JobState
from tests.bot.check_samples import (
    LINE_IDS,
    LIVE_RUN,
    answer,
    check_job,
    check_report,
    check_spec,
    comparison,
    extreme_check,
    sheet,
)
from tests.bot.samples import JOB_ID, NASTY, USER, event, progress, view, voice
from tests.bot.test_cards import assert_fits, assert_harmless, text_of
from training.data.schema import DataAction, DataReport
from training.evaluation.schema import Advice, CheckReport, Earlier, Gate, JudgeOpinion, Suite
from training.schema import Fact, Problem, ScoreLine, Verdict

CATALOG = Catalog(personas={"glordon": "Glordon"}, datasets={}, base_model="standin", rehearsal=True)
EARLIER = Earlier(adapter="Glordon v1", lines=check_report().lines)
FILES = (check_cards.MATRICES_FILE, check_cards.RADAR_FILE, check_cards.REPORT_FILE)
LIVE = voice(version=1, live=True).model_copy(update={"job_id": LIVE_RUN})


def done(found: CheckReport | None = None) -> object:
    report = found or check_report()
    return event(check_job(spec=report.spec), JobState.SUCCEEDED, check=report)


def result_of(found: CheckReport | None = None, files: tuple[str, ...] = FILES) -> str:
    return text_of(*check_cards.result_embeds(done(found), CATALOG, files))  # type: ignore[arg-type]


# --- checks --------------------------------------------------------------------------------------------------------


def test_a_result_says_verdict_figures_change_weakest_line_and_what_to_do() -> None:
    embeds = check_cards.result_embeds(done(check_report(before=EARLIER)), CATALOG, FILES)  # type: ignore[arg-type]
    card = embeds[0]
    assert card.title == "⚠️ **Glordon v2** · passed with a warning"
    assert card.colour is not None
    assert card.colour.value == 0xFEE75C
    fields = {field.name: field.value for field in card.fields}
    assert list(fields.items())[:9] == [
        ("✅ Facts", "0.81 [0.62–0.94]"),
        ("⚠️ Voice", "0.62 [0.53–0.70], gold 0.71"),
        ("✅ Held-out fit", "+0.18 nats [+0.12 to +0.24]"),
        ("✅ General ability", "+0.09 nats [+0.05 to +0.13]"),
        ("✅ Out of character", "0 % [0 % to 2 %]"),
        ("✅ Broken replies", "2 % [0 % to 5 %]"),
        ("✅ Copying", "1 % [−2 % to 4 %]"),
        ("✅ Version gate", "+0.05 [−0.05 to +0.15]"),
        ("➖ People's votes", "Nobody has voted yet."),
    ]
    assert (fields["Against Glordon v1"] or "").splitlines()[:2] == [
        "🟢 **PASS, no worse**",
        "Facts +0.05 [−0.05 to +0.15] over 16 questions",
    ]
    assert fields["Next"] == (
        "Weakest: **Voice**: First when pooled, below 70 % of gold.\n"
        "Gather more lines of this persona, with /dataset upload or /dataset build, and train again."
    )
    told = text_of(card)
    for part in (
        REHEARSAL,
        "Its own questions · against v1 · 2 replies · standin on cpu · took 58 s",
        "Shown only: BLEU 3.1 · chrF 17",
        "report.json holds every prompt",
        f"Result of job {JOB_ID}",
    ):
        assert part in told
    assert [embed.image.url for embed in embeds] == ["attachment://check.png", "attachment://radar.png"]


def test_a_result_shows_the_pictures_that_are_there_and_says_what_is_not_attached() -> None:
    (card,) = check_cards.result_embeds(done(), CATALOG, ())  # type: ignore[arg-type]
    assert card.image.url is None
    assert "too large to attach" in text_of(card)
    assert "report.json.gz holds every prompt" in result_of(files=("report.json.gz",))


@pytest.mark.parametrize("advice", list(Advice))
def test_every_advice_is_one_next_action(advice: Advice) -> None:
    weakest = None if advice is Advice.NOTHING else "voice"
    lines = result_of(check_report(advice=advice, weakest=weakest)).split("Next\n")[1].split("\n")
    lines = [line for line in lines if line]
    assert len(lines) == 2
    assert lines[0].startswith("No line wants work." if weakest is None else "Weakest: **Voice**")
    assert ("/persona promote version:2" in lines[1]) is (advice is Advice.NOTHING)


@pytest.mark.parametrize(("gate", "says"), [(Gate.PASS, "🟢 **PASS"), (Gate.INCONCLUSIVE, "🟡 **INCONCLUSIVE"),
                                            (Gate.WORSE, "🔴 **WORSE")])  # fmt: skip
def test_every_gate_has_a_sign_and_a_word(gate: Gate, says: str) -> None:
    assert says in result_of(check_report(comparison=comparison(gate)))


def test_every_line_has_a_name_and_every_verdict_a_colour() -> None:
    for name, verdict in product(LINE_IDS, Verdict):
        line = ScoreLine(id=name, value=0.5, verdict=verdict)
        told = result_of(check_report(lines=(line,), verdict=verdict, weakest=name))
        assert f"\n{VERDICTS[verdict][0]} {NAMES[name]}\n" in told
        assert f"Weakest: **{NAMES[name]}**" in told
        (card, *_) = check_cards.result_embeds(done(check_report(verdict=verdict)), None, ())  # type: ignore[arg-type]
        assert card.colour is not None
    assert len({check_cards.COLOURS[verdict] for verdict in Verdict}) == len(Verdict)


def test_drift_and_an_opinion_are_told_where_they_were_asked_for() -> None:
    opinion = JudgeOpinion(model="judge/one", scores={"in character": 3.8}, replies=40, agreement=0.71, votes=23)
    spec = check_spec(drift=True, judge=True)
    told = result_of(check_report(spec, judge=opinion))
    assert "again after 1, 8 and 16 rounds · with a language model's opinion" in told
    assert "judge/one, 1 to 5: in character 3.8" in told
    assert "Agrees with 71 % of 23 decisive votes." in told
    unknown = opinion.model_copy(update={"agreement": None})
    assert "Not compared with any votes yet." in result_of(check_report(judge=unknown))


def test_the_base_model_and_general_questions_are_called_what_they_are() -> None:
    spec = check_spec(run_id=None, version=None, against=None, against_version=None, suite=Suite.GENERAL)
    told = result_of(check_report(spec, comparison=None, advice=Advice.NOTHING, weakest=None))
    assert "**Glordon without an adapter**" in told
    assert "General questions · 2 replies" in told
    assert "Nothing needs doing." in told
    assert check_cards.accepted(spec, CATALOG).startswith("🟡 The check of **Glordon without an adapter** is queued")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (JobState.QUEUED, "Waiting for a worker."),
        (JobState.RUNNING, "Step 120 of 240"),
        (JobState.CANCELLING, "Stopping at the next step."),
        (JobState.SUCCEEDED, "Done. The result is a message of its own."),
        (JobState.FAILED, "The GPU is full."),
        (JobState.CANCELLED, "Stopped."),
    ],
)
def test_a_card_says_how_a_check_goes(state: JobState, says: str) -> None:
    problem = Problem(code="DoesNotFit", sentence="The GPU is full.") if state is JobState.FAILED else None
    job = event(check_job(), state, progress=progress(), problem=problem)
    card = check_cards.check_card(job, 0, CATALOG)
    assert "**Glordon v2** · check " in (card.title or "")
    assert says in (card.description or "")
    assert card.footer.text == f"Job {JOB_ID}"
    offered = card_buttons(check_job(), state)
    labels = [item.item.label for item in offered.children] if offered else []  # type: ignore[attr-defined]
    assert labels == (["Cancel"] if state in (JobState.QUEUED, JobState.RUNNING) else [])


def test_a_check_in_line_tells_its_place() -> None:
    assert "Next in line." in text_of(
        check_cards.check_card(view(check_job(), JobState.QUEUED, position=1), 0, CATALOG)
    )


def test_a_check_that_failed_says_why_and_calls_whoever_asked() -> None:
    problem = Problem(code="AdapterMissing", sentence="The files are gone. Train again.")
    failed = event(check_job(), JobState.FAILED, problem=problem)
    assert check_cards.result_text(failed, CATALOG) == f"<@{USER}> The check of **Glordon v2** failed."
    told = text_of(*check_cards.result_embeds(failed, CATALOG, ()))
    assert "The files are gone. Train again." in told
    assert f"Result of job {JOB_ID} · AdapterMissing" in told
    assert wanted(failed) == [("card", 0), ("result", 0)]
    passed = check_cards.result_text(done(check_report(verdict=Verdict.PASS)), CATALOG)  # type: ignore[arg-type]
    assert passed == f"<@{USER}> ✅ **Glordon v2** passed."


# --- samples -------------------------------------------------------------------------------------------------------


def test_the_same_question_stands_side_by_side() -> None:
    job = event(check_job(), JobState.SUCCEEDED, check=check_report())
    embed = check_cards.sample_embed(job, 1)
    assert embed.title == "“Question number 1?”"
    assert [(field.name, field.value, field.inline) for field in embed.fields] == [
        ("base", "“Base 1.”", True),
        ("v1", "“Old 1.”", True),
        ("v2", "“New 1.”", True),
    ]
    assert embed.footer.text == "Question 2 of 3"
    assert check_cards.sample_text(job, 1).endswith("**v2** “New 1.”\n-# Question 2 of 3")
    assert check_cards.thread_name(job) == "Glordon v2 · answers side by side"
    assert [field.name for field in check_cards.samples_embed(job).fields] == [
        f"“Question number {n}?”" for n in range(3)
    ]


def test_a_row_for_the_thread_and_one_for_each_question() -> None:
    rows = wanted(event(check_job(), JobState.SUCCEEDED, check=check_report()))
    assert rows == [("card", 0), ("result", 0), ("thread", 0), ("sample", 0), ("sample", 1), ("sample", 2)]
    many = event(check_job(), JobState.SUCCEEDED, check=extreme_check("x"))
    assert len(wanted(many)) == 3 + check_cards.TOLD_SAMPLES
    none = event(check_job(), JobState.SUCCEEDED, check=check_report(samples=()))
    assert wanted(none) == [("card", 0), ("result", 0)]


# --- files ---------------------------------------------------------------------------------------------------------


def test_the_files_of_a_check_are_two_pictures_and_the_whole_report() -> None:
    found = check_report(before=EARLIER)
    files = result_files.of_check(found, CATALOG.personas)
    assert sorted(files) == ["check.png", "radar.png", "report.json"]
    assert CheckReport.model_validate_json(files["report.json"]) == found
    for name in ("check.png", "radar.png"):
        assert files[name].startswith(b"\x89PNG")
    alone = check_report(sounds_like=check_report().sounds_like.model_copy(update={"rows": ()}),
                         gains=check_report().gains.model_copy(update={"rows": ()}))  # fmt: skip
    assert sorted(result_files.of_check(alone, {})) == ["report.json"]


def test_a_report_that_discord_would_refuse_is_packed_or_left_out() -> None:
    long = check_report(answers=(answer(reply="Honk. " * (FILE_BYTES // 5)),))
    (name,) = result_files.whole_report(long)
    assert name == "report.json.gz"
    packed = result_files.whole_report(long)[name]
    assert len(packed) <= FILE_BYTES
    assert json.loads(gzip.decompress(packed)) == json.loads(long.model_dump_json())
    noise = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2 * FILE_BYTES))
    assert result_files.whole_report(check_report(answers=(answer(reply=noise),))) == {}


# --- the cast ------------------------------------------------------------------------------------------------------


def test_the_cast_is_listed_with_live_version_and_last_verdict() -> None:
    catalog = CATALOG.model_copy(update={"personas": {"glordon": "Glordon", "questa": "Ambassador Questa"}})
    told = text_of(
        persona_cards.cast_list(catalog, {"glordon": [LIVE, voice()]}, {"glordon": {2: check_report()}, "questa": {}})
    )
    assert "**Glordon** · v1 is live · 2 versions · v2 passed with a warning ⚠️" in told
    assert "**Ambassador Questa** · no version is live · 0 versions · never checked" in told
    assert "Nobody yet." in text_of(persona_cards.cast_list(CATALOG.model_copy(update={"personas": {}}), {}, {}))


def test_a_persona_is_shown_with_the_words_of_its_facts_and_its_versions() -> None:
    report = DataReport(action=DataAction.PERSONA, name="glordon", persona=sheet(), learnt=48, held_out=12)
    told = text_of(*persona_cards.info_embeds(sheet(), report, [LIVE, voice()], {2: check_report()}))
    for part in (
        "The gentle heir of Hylurg.",
        "48 lines to learn from · 12 held out",
        "v1 · **live** · standin",
        "v2 · standin · its check passed with a warning ⚠️",
        "**1.** He is a friend of Elio.",
        "✅ friend, pal · ❌ stranger",
        "**2.** He comes from Hylurg.\n-# no words show that it is known",
    ):
        assert part in told
    view = fact_buttons(sheet(), 0, editable=True)
    assert view
    buttons = [item.item.label for item in view.children]  # type: ignore[attr-defined]
    assert buttons == ["Edit or confirm 1", "Edit or confirm 2"]
    assert fact_buttons(sheet(), 0, editable=False) is None
    assert fact_buttons(sheet(facts=()), 0, editable=True) is None
    assert "No version yet." in text_of(*persona_cards.info_embeds(sheet(facts=()), report, [], {}))


def test_words_of_a_form_are_one_a_line_and_each_once() -> None:
    assert persona_cards.words_in(" a friend \n\npal\na friend\n") == ("a friend", "pal")
    assert persona_cards.words_in("  \n ") == ()
    changed = Fact(id="elio", text="He is *a* friend.", accept=("pal",))
    told = persona_cards.fact_changed("Glordon", changed)
    assert "Shows that it is known: pal" in told
    assert "Shows that it is not: none" in told


@pytest.mark.parametrize(
    ("check", "live", "gate", "says"),
    [
        (None, LIVE, None, "No check of it is known"),
        (check_report(), LIVE, Gate.PASS, "Against v1, which spoke before: no worse (PASS)."),
        (check_report(), LIVE, Gate.INCONCLUSIVE, "too close to tell"),
        (check_report(), LIVE, Gate.WORSE, "worse (WORSE)"),
        (check_report(), None, None, "Its last check: passed with a warning ⚠️."),
        (check_report(), LIVE, None, "It was not compared with v1"),
    ],
)
def test_what_is_known_of_a_version_is_said_when_it_is_made_live(
    check: CheckReport | None, live: object, gate: Gate | None, says: str
) -> None:
    one = Candidate(voice(), check, live, comparison(gate) if gate else None)  # type: ignore[arg-type]
    assert one.worse is (gate is Gate.WORSE)
    assert says in persona_cards.promoted(one, CATALOG)
    assert persona_cards.really_promote([one], CATALOG).startswith("🔴")


def test_a_training_result_offers_what_can_be_done_with_its_versions() -> None:
    def labels(*voices: object) -> list[str]:
        shown = result_buttons(JOB_ID, voices)  # type: ignore[arg-type]
        return [item.item.label for item in shown.children] if shown else []  # type: ignore[attr-defined]

    assert labels(voice()) == ["Make live", "Check", "Blind vote"]
    assert labels(voice(live=True)) == ["Check", "Blind vote"]
    assert labels(voice(), voice("questa")) == ["Make live"]
    assert labels() == []


# --- extremes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_input_breaks_a_result_or_its_samples(text: str) -> None:
    job = event(check_job(spec=extreme_check(text).spec), JobState.SUCCEEDED, check=extreme_check(text))
    shown = [check_cards.result_embeds(job, CATALOG, FILES), [check_cards.samples_embed(job)]]
    shown += [[check_cards.sample_embed(job, part)] for part in range(check_cards.TOLD_SAMPLES)]
    for embeds in shown:
        assert_texts_fit(*embeds)
        assert_harmless(text_of(*embeds))
    assert shown[1][0].fields
    for said in (check_cards.sample_text(job, 0), check_cards.result_text(job, CATALOG)):
        assert 0 < width(said.strip()) <= CONTENT
        assert "@everyone" not in said
    assert check_cards.sample_text(job, 0).endswith("\n-# Question 1 of 8")
    assert 0 < width(check_cards.thread_name(job).strip()) <= THREAD_NAME
    assert "\n" not in check_cards.thread_name(job)


def assert_texts_fit(*embeds: object) -> None:
    """As `assert_fits`, but for an embed that holds a picture only."""
    assert_fits(*(embed for embed in embeds if embed.title))  # type: ignore[arg-type, attr-defined]
    assert sum(map(cards.len_of, embeds)) <= 6000  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "state"), list(product(NASTY, JobState)))
def test_no_input_breaks_a_card(text: str, state: JobState) -> None:
    job = check_job(spec=check_spec(persona="p" * 40, version=10**9, drift=True, judge=True))
    problem = Problem(code=text, sentence=text)
    for look in (progress(step=10**12, total=10**12, seconds_left=float("inf")), None):
        told = event(job, state, progress=look, problem=problem)
        card = check_cards.check_card(told, 1e9, CATALOG)
        assert_fits(card)
        assert_harmless(text_of(card))
        assert_fits(*check_cards.result_embeds(told, None, ()))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_input_breaks_the_cast_a_sheet_or_its_form(text: str) -> None:
    named = (text.strip() or "N")[:80]
    strange = sheet(
        name=named, bio=text, style=text, traits=(text,) * 3,
        facts=tuple(Fact(id=f"{n}{text}", text=text, accept=(text,) * 2, reject=(text,) * 2) for n in range(26)),
    )  # fmt: skip
    report = DataReport(action=DataAction.PERSONA, name="glordon", persona=strange, learnt=10**15, held_out=10**15)
    versions = [voice(version=10**6 + n).model_copy(update={"base_model": text}) for n in range(30)]
    info = persona_cards.info_embeds(strange, report, versions, {10**6: extreme_check(text)})
    catalog = Catalog(personas={f"p{n}": text for n in range(80)}, datasets={}, base_model="standin", rehearsal=True)
    cast = persona_cards.cast_list(catalog, {"p1": versions}, {"p1": {10**6: extreme_check(text)}})
    for embeds in (info, [cast]):
        assert_fits(*embeds)
        assert_harmless(text_of(*embeds))
    for page in range(4):
        assert_fits(*persona_cards.info_embeds(strange, report, versions, {}, page))
        view = fact_buttons(strange, page, editable=True)
        assert view
        assert len(view.children) == (9, 10, 10, 3)[page]
    fact = strange.facts[0]
    changed = persona_cards.fact_changed(named, fact)
    assert width(changed) <= CONTENT
    assert_harmless(changed)
    one = Candidate(voice("p1"), extreme_check(text), LIVE)
    for said in (
        persona_cards.promoted(one, catalog),
        persona_cards.really_promote([one] * 50, catalog),
        persona_cards.left([voice("p1")] * 50, catalog),
        persona_cards.rolled_back(LIVE, catalog),
    ):
        assert 0 < width(said) <= CONTENT
        assert_harmless(said)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
async def test_no_input_breaks_a_form(text: str) -> None:
    named = (text.strip() or "N")[:80]
    fact = Fact(id=text, text=text, accept=(text,) * 40, reject=(text,))
    if width(persona_cards.lines_of(fact.accept)) > FORM_TEXT:
        with pytest.raises(FactTooLong, match="are more than a form holds"):
            fact_form(sheet(name=named, facts=(fact,)), 25, fact)
        return
    form = fact_form(sheet(name=named, facts=(fact,)), 25, fact).to_dict()
    assert 0 < width(form["title"].strip()) <= 45
    assert len(form["components"]) == 2
    for label in form["components"]:
        assert 0 < width(label["label"]) <= 45
        assert width(label["component"].get("value") or "") <= 4000
