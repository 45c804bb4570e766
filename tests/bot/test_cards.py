"""What people read: ordinary cards say what they should, and no input makes one that Discord would refuse."""

from __future__ import annotations

from itertools import product

import discord
import pytest

from bot import cards, job_lines, phrases, talk
from bot.buttons import card_buttons
from bot.limits import (
    CHOICE_NAME,
    CONTENT,
    EMBED_DESCRIPTION,
    EMBED_FIELD_NAME,
    EMBED_FIELD_VALUE,
    EMBED_TITLE,
    EMBEDS_IN_ALL,
    width,
)
from tasks.jobs import Catalog, EventKind, Job, JobState, new_job
from tests.bot.samples import (
    JOB_ID,
    NASTY,
    USER,
    chat_job,
    event,
    extreme_report,
    plan,
    progress,
    reply,
    report,
    train_job,
    train_spec,
    view,
    voice,
)
from training.data.schema import DataAction, DataSpec
from training.schema import Alternative, Phase, Problem, Progress
from training.warned import Warned

CATALOG = Catalog(personas={"glordon": "Glordon"}, datasets={}, base_model="standin", rehearsal=True)


def text_of(*embeds: discord.Embed) -> str:
    parts = []
    for embed in embeds:
        parts += [embed.title or "", embed.description or "", embed.footer.text or ""]
        parts += [f"{field.name}\n{field.value}" for field in embed.fields]
    return "\n".join(parts)


def assert_fits(*embeds: discord.Embed) -> None:
    """Discord's rules for the embeds of one message."""
    assert 1 <= len(embeds) <= 10
    for embed in embeds:
        assert 0 < width(embed.title or "") <= EMBED_TITLE
        assert width(embed.description or "") <= EMBED_DESCRIPTION
        assert width(embed.footer.text or "") <= 2048
        assert len(embed.fields) <= 25
        for field in embed.fields:
            assert 0 < width((field.name or "").strip()) <= EMBED_FIELD_NAME
            assert 0 < width((field.value or "").strip()) <= EMBED_FIELD_VALUE
    assert sum(map(cards.len_of, embeds)) <= EMBEDS_IN_ALL


def assert_harmless(text: str) -> None:
    """No mention survives, whoever wrote it."""
    assert "@everyone" not in text
    assert "@here" not in text
    assert "<@1" not in text
    assert "<@&1" not in text


def test_running_card_says_where_it_is() -> None:
    card = cards.job_card(event(progress=progress()), 1_800_000_000.5, CATALOG)
    assert card.title == "🔵 **glordon_v1** · training"
    assert (card.description or "").splitlines() == [
        "Glordon · persona fine-tuning · 3 epochs",
        f"{phrases.REHEARSAL} It shows how a job goes, not how good talk gets.",
        "▰▰▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱▱▱ 50 %",
        "Step 120 of 240 · epoch 1.50 of 3 · ends <t:1800000051:R>",
        "Loss in nats per token: train 1.41 ▼ (start 2.31) · held-out 1.52, best at step 100",
        "1,480 tokens/s",
    ]
    assert card.footer.text == f"Job {JOB_ID}"


@pytest.mark.parametrize(
    ("state", "start", "says"),
    [
        (JobState.QUEUED, "🟡", "Waiting for a worker."),
        (JobState.RUNNING, "🔵", "Starting."),
        (JobState.PAUSING, "🟠", "Pausing at the next step"),
        (JobState.PAUSED, "🟠", "Paused while it waited in line."),
        (JobState.CANCELLING, "⚪", "Stopping at the next step."),
        (JobState.SUCCEEDED, "🟢", "Done"),
        (JobState.FAILED, "🔴", "The GPU is full."),
        (JobState.CANCELLED, "⚪", "Cancelled before it began."),
    ],
)
def test_every_state_has_a_sign_and_a_word(state: JobState, start: str, says: str) -> None:
    problem = Problem(code="DoesNotFit", sentence="The GPU is full.") if state is JobState.FAILED else None
    card = cards.job_card(event(state=state, problem=problem), 0, None)
    assert (card.title or "").startswith(f"{start} **glordon_v1** · ")
    assert says in (card.description or "")


def test_queued_cards_tell_the_place_or_the_way_on() -> None:
    def says(job: object) -> str:
        return text_of(cards.job_card(job, 0, None))  # type: ignore[arg-type]

    assert "Next in line." in says(view(state=JobState.QUEUED, position=1))
    assert "Number 1,201 in line." in says(view(state=JobState.QUEUED, position=1201))
    requeued = event(state=JobState.QUEUED, progress=progress()).model_copy(update={"kind": EventKind.REQUEUED})
    assert "goes on from its last checkpoint" in says(requeued)


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_words(phase: Phase) -> None:
    title = cards.job_card(event(progress=progress(phase=phase)), 0, None).title or ""
    assert title.split(" · ")[1] not in ("", phase.name, "running")


def test_only_the_house_model_is_called_a_rehearsal() -> None:
    for spec, expected in ((train_job(), True), (train_job(base_model="some/model"), False)):
        assert (phrases.REHEARSAL in text_of(cards.job_card(event(spec), 0, CATALOG))) is expected
    assert "Rehearsal" not in text_of(cards.job_card(event(), 0, None))


@pytest.mark.parametrize(
    ("share", "filled", "percent"),
    [(-1, 0, "0 %"), (0.049, 0, "5 %"), (0.5, 10, "50 %"), (1, 20, "100 %"), (7, 20, "100 %")],
)
def test_bar(share: float, filled: int, percent: str) -> None:
    assert phrases.bar(share) == f"{'▰' * filled}{'▱' * (20 - filled)} {percent}"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (106, "1 min 46 s"), (6360, "1 h 46 min"), (3600, "1 h"), (-3, "0 s"),
     (float("inf"), "an unknown time"), (float("nan"), "an unknown time")],
)  # fmt: skip
def test_duration(seconds: float, words: str) -> None:
    assert phrases.duration(seconds) == words


def test_plan_card_tells_what_it_takes() -> None:
    card = cards.plan_card(train_job(), train_spec(), plan(), CATALOG)
    told = text_of(card)
    for part in ("48 training conversations", "12 held out", "7,212 tokens", "36 steps", "0.4 of 7.5 GiB ✅ fits",
                 "20 s to 40 s", phrases.REHEARSAL, "standin on cpu"):  # fmt: skip
        assert part in told
    assert "512 tokens at once" in told
    assert "4 bits" not in told
    lean = plan(quantised=True, gradient_checkpointing=True, micro_batch_tokens=2048, estimated=True)
    told = text_of(cards.plan_card(train_job(), train_spec(), lean, CATALOG))
    assert "2,048 tokens at once · weights in 4 bits · gradient checkpointing · tokens estimated" in told


def test_a_plan_that_does_not_fit_names_what_would() -> None:
    too_big = plan(fits=False, peak_gib=17.4)
    refused = cards.plan_card(train_job(), train_spec(), too_big, None)
    assert "does not fit" in (refused.title or "")
    assert "Nothing was started. Choose a smaller base model" in text_of(refused)
    near = (
        Alternative(change="quantisation", value="nf4", peak_gib=6.04),
        Alternative(change="gradient_checkpointing", value="on", peak_gib=5),
        Alternative(change="max_length", value="512", peak_gib=7),
        Alternative(change="lora_rank", value="8", peak_gib=7.2),
        Alternative(change="base_model", value="Qwen/Qwen3-0.6B", peak_gib=3.91),
    )
    told = text_of(cards.plan_card(train_job(), train_spec(), too_big.model_copy(update={"alternatives": near}), None))
    for part in ("weights in 4 bits (nf4): 6.0 GiB", "gradient checkpointing on: 5.0 GiB", "at most 512 tokens",
                 "LoRA rank 8", "base model Qwen/Qwen3-0.6B: 3.9 GiB"):  # fmt: skip
        assert part in told


def test_refused_card_gives_the_reason() -> None:
    told = text_of(
        cards.refused_card(train_spec(), Problem(code="EmptyDataset", sentence="It holds 0 rows. Add some."), None)
    )
    assert "It holds 0 rows. Add some." in told
    assert "EmptyDataset" in told


def test_result_holds_numbers_scorecard_and_samples() -> None:
    embeds = cards.result_embeds(event(state=JobState.SUCCEEDED, report=report(), version=2), None, chart=True)
    told = text_of(*embeds)
    for part in ("finished in 1 min 46 s",
                 "2.28 → **1.47** ▼ nats per token", "9.8 → 4.3", "best step 30 of 36", "seed 42", "9f3c77aa",
                 "Scorecard: passed with a warning", "✅ **Held-out fit** +0.81 nats (+0.70 to +0.92) · Fits better.",
                 "⚠️ **Voice** 75 % (50 % to 90 %), human lines 88 %", "➖ **Broken replies** Nothing to judge.",
                 "“Are you an AI?”", "**base** “As a”", "**v2** “Honk.”", phrases.REHEARSAL):  # fmt: skip
        assert part in told
    assert embeds[0].image.url == "attachment://loss.png"
    assert embeds[0].footer.text == f"Result of job {JOB_ID}"
    assert told.count(phrases.REHEARSAL) == 1


@pytest.mark.parametrize(("state", "word"), [(JobState.FAILED, "failed"), (JobState.CANCELLED, "cancelled")])
def test_ends_without_report(state: JobState, word: str) -> None:
    ended = event(state=state, progress=progress(), problem=Problem(code="X", sentence="Why."))
    assert cards.result_text(ended, [], CATALOG) == f"<@{USER}> **glordon_v1** {word}."
    (card,) = cards.result_embeds(ended, CATALOG, chart=False)
    assert "Stopped at step 120 of 240." in text_of(card)
    assert (card.footer.text or "").split(" · ")[0] == cards.result_marker(JOB_ID)


def test_result_text_mentions_the_starter_and_says_who_is_live() -> None:
    done = event(state=JobState.SUCCEEDED, report=report(), version=2)
    told = cards.result_text(done, [voice(live=True)], CATALOG)
    assert told == f"<@{USER}> **Glordon v2** is trained and live: try /persona-chat."
    assert cards.result_text(done, [voice()], CATALOG).endswith("not live yet.")
    assert cards.result_text(done, [], CATALOG).endswith("**glordon_v1** is done.")


@pytest.mark.parametrize(
    ("live", "ends"),
    [((True, True), "are trained and live: try /persona-chat."), ((True, False), "are trained, and not all live yet."),
     ((False, False), "are trained, and not live yet.")],
)  # fmt: skip
def test_a_result_of_the_whole_cast_says_for_whom(live: tuple[bool, bool], ends: str) -> None:
    done = event(train_job(persona="all"), JobState.SUCCEEDED, report=report(personas=("glordon", "questa")))
    voices = [voice("glordon", 2, live[0]), voice("questa", 1, live[1])]
    assert cards.result_text(done, voices, CATALOG) == f"<@{USER}> **Glordon v2, Questa v1** {ends}"
    assert cards.made_live(voices, CATALOG) == ("🎙️ Now speak: **Glordon with v2, Questa with v1**. Try /persona-chat.")
    assert "Everybody · persona fine-tuning" in text_of(cards.job_card(event(done.job), 0, CATALOG))
    assert "**trained** “Honk.”" in text_of(*cards.result_embeds(done, CATALOG, chart=False))


def test_no_cast_is_too_long_for_a_result() -> None:
    done = event(train_job(persona="all"), JobState.SUCCEEDED, report=report())
    voices = [voice("p" * 38 + f"{number:02}", 10**6) for number in range(100)]
    for text in (cards.result_text(done, voices, CATALOG), cards.made_live(voices, CATALOG)):
        assert "and 92 more" in text
        assert width(text) <= CONTENT


def test_what_a_preference_run_found_is_told() -> None:
    spec = train_spec(task_type="preference", dataset="votes", start_from="f" * 12)
    found = report(spec, preferred=0.75, seed=44)
    told = text_of(*cards.result_embeds(event(state=JobState.SUCCEEDED, report=found), None, chart=False))
    for part in ("Leans to the chosen answer in **75 %** of the held-out pairs", "48 pairs · 12 held out", "seed 44"):
        assert part in told
    asked = text_of(cards.job_card(event(train_job(**spec.model_dump(exclude={"job_name", "guild_id"}))), 0, CATALOG))
    assert "votes · preference fine-tuning · 3 epochs · on from job ffffffffffff" in asked


@pytest.mark.parametrize(
    ("look", "checkpoint", "says"),
    [
        (None, None, "Paused while it waited in line."),
        (progress(), None, "Paused before anything was kept; it will begin anew."),
        (progress(130), 120, "Paused at step 120 of 240."),
        (progress(5, total=0), 4, "Paused at step 4."),
    ],
)
def test_a_paused_card_says_where_it_rests_and_who_lets_it_go_on(
    look: Progress | None, checkpoint: int | None, says: str
) -> None:
    rests = event(state=JobState.PAUSED, progress=look, checkpoint=checkpoint)
    card = cards.job_card(rests, 0, CATALOG)
    assert card.title == "🟠 **glordon_v1** · paused"
    lines = (card.description or "").splitlines()
    assert lines[-2:] == [says, "Whoever started it, or a moderator, lets it go on: Resume, or /finetune resume."]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (job_lines.pausing(view(state=JobState.PAUSED)), "🟠 **glordon_v1** is paused. It keeps its place"),
        (job_lines.pausing(view(state=JobState.PAUSING)), "🟠 **glordon_v1** is being paused"),
        (job_lines.pausing(view(state=JobState.SUCCEEDED)), "🟢 **glordon_v1** is done."),
        (job_lines.resuming(view(state=JobState.QUEUED)), "🟡 **glordon_v1** goes on from where it stopped"),
        (job_lines.resuming(view(state=JobState.RUNNING)), "🔵 **glordon_v1** is running."),
    ],
)
def test_whoever_pauses_or_resumes_is_told_what_came_of_it(told: str, says: str) -> None:
    assert told.startswith(says)


@pytest.mark.parametrize(
    ("slug", "catalog", "name"),
    [("glordon", CATALOG, "Glordon"), ("lord-grigon", CATALOG, "Lord Grigon"), ("o_g", None, "O G")],
)
def test_personas_go_by_their_names(slug: str, catalog: Catalog | None, name: str) -> None:
    job = train_job(persona=slug)
    done = event(job, JobState.SUCCEEDED, report=report(), version=2)
    assert cards.made_live([voice(slug)], catalog) == f"🎙️ **{name}** now speaks with v2: try /persona-chat."
    assert f"**{name} v2** is trained" in cards.result_text(done, [voice(slug)], catalog)
    problem = Problem(code="X", sentence="Why.")
    for card in (
        cards.plan_card(job, train_spec(persona=slug), plan(), catalog),
        cards.refused_card(train_spec(persona=slug), problem, catalog),
        cards.job_card(event(job), 0, catalog),
        *cards.result_embeds(event(job, JobState.FAILED, problem=problem), catalog, chart=False),
        job_lines.job_list([view(job)], catalog),
    ):
        assert name in (card.description or "")


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        (JobState.QUEUED, ["Cancel"]),
        (JobState.RUNNING, ["Pause", "Cancel"]),
        (JobState.PAUSING, ["Resume", "Cancel"]),
        (JobState.PAUSED, ["Resume", "Cancel"]),
        (JobState.CANCELLING, []),
        (JobState.SUCCEEDED, []),
        (JobState.FAILED, []),
        (JobState.CANCELLED, []),
    ],
)
def test_what_can_be_done_with_a_job_is_offered(state: JobState, offered: list[str]) -> None:
    def labels(job: Job) -> list[str]:
        shown = card_buttons(job, state)
        return [item.item.label for item in shown.children] if shown else []  # type: ignore[attr-defined]

    assert labels(train_job()) == offered
    build = DataSpec(action=DataAction.BUILD, guild_id=train_job().guild_id, name="lore")
    assert labels(new_job("data", build, train_job().origin)) == offered[-1:]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_input_breaks_a_result(text: str) -> None:
    embeds = cards.result_embeds(
        event(state=JobState.SUCCEEDED, report=extreme_report(text), version=10**6), CATALOG, chart=True
    )
    assert_fits(*embeds)
    assert_harmless(text_of(*embeds))
    assert len(embeds[1].fields) >= 1


@pytest.mark.parametrize(("text", "state"), list(product(NASTY, JobState)))
def test_no_input_breaks_a_card(text: str, state: JobState) -> None:
    job = train_job(job_name="J" * 40, persona="p" * 40, dataset="d" * 400, task_type="mixed")
    wild = progress(
        step=10**12, total=10**12, train_loss=float("nan"), eval_loss=float("inf"), seconds_left=float("inf"),
        tokens_per_second=1e15, epoch=1e9,
    )  # fmt: skip
    problem = Problem(code=text, sentence=text)
    for look in (wild, progress(step=5, total=0), None):
        card = cards.job_card(event(job, state, progress=look, problem=problem), 1e9, CATALOG)
        assert_fits(card)
        assert_harmless(text_of(card))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_input_breaks_a_plan_a_list_or_a_question(text: str) -> None:
    spec = train_spec(dataset="d" * 400, task_type="mixed")
    strange = plan(base_model=text, device=text, tokens=10**15, seconds=(0, float("inf")), warnings=tuple(Warned))
    named = (Alternative(change="base_model", value=text, peak_gib=10**6),) * 4
    refused = strange.model_copy(update={"fits": False, "alternatives": named})
    shown = (
        cards.plan_card(train_job(), spec, strange, CATALOG),
        cards.plan_card(train_job(), spec, refused, CATALOG),
        cards.refused_card(spec, Problem(code=text, sentence=text), CATALOG),
        job_lines.job_list([view(train_job(job_name="J" * 40, dataset="d" * 400, task_type="mixed"))] * 25, CATALOG),
    )
    for card in shown:
        assert_fits(card)
        assert_harmless(text_of(card))
    asked = talk.question(text, text, text)
    assert width(asked) <= CONTENT
    assert_harmless(asked)


def test_job_list() -> None:
    told = text_of(job_lines.job_list([view(progress=progress()), view(state=JobState.SUCCEEDED, version=3)], CATALOG))
    assert "🔵 **glordon_v1** · running · 50 % · Glordon · <t:" in told
    assert "🟢 **glordon_v1** · done · Glordon · v3" in told
    half = job_lines.job_list([view(state=JobState.PAUSED, progress=progress(), checkpoint=60)], CATALOG)
    assert "🟠 **glordon_v1** · paused · 25 % · Glordon" in text_of(half)
    assert "None yet" in text_of(job_lines.job_list([], None))
    assert "and 5 older ones" in text_of(job_lines.job_list([view()] * 20, None))
    assert width(job_lines.job_choice(view(train_job(job_name="J" * 40)))) <= CHOICE_NAME


def test_job_names_keep_their_letters() -> None:
    card = cards.job_card(event(train_job(job_name="a__b__c_d")), 0, None)
    assert card.title == "🔵 **a\\_\\_b\\_\\_c_d** · running"


def test_replies_say_who_speaks() -> None:
    said = event(chat_job(), JobState.SUCCEEDED, reply=reply())
    assert talk.reply_parts(said, as_persona=True) == (f"Honk.\n-# Glordon · v2 · {phrases.REHEARSAL}",)
    assert talk.reply_parts(said, as_persona=False) == (f"**Glordon:** Honk.\n-# Glordon · v2 · {phrases.REHEARSAL}",)
    untrained = event(chat_job(), JobState.SUCCEEDED, reply=reply(version=None, rehearsal=False))
    assert talk.reply_parts(untrained, as_persona=True)[0].endswith(
        "untrained: the base model with the character sheet"
    )
    failed = event(chat_job(), JobState.FAILED, problem=Problem(code="X", sentence="It is gone. Train again."))
    assert talk.reply_parts(failed, as_persona=True) == ("🔴 It is gone. Train again.",)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_reply_is_too_long_or_empty(text: str) -> None:
    said = event(chat_job(), JobState.SUCCEEDED, reply=reply(text, name="N" * 80))
    by_persona, by_bot = talk.reply_parts(said, as_persona=True), talk.reply_parts(said, as_persona=False)
    assert len(by_persona) == len(by_bot) >= 1
    for part in (*by_persona, *by_bot):
        assert 0 < width(part.strip()) <= CONTENT
    assert by_persona[-1].splitlines()[-1] == f"-# {'N' * 80} · v2 · {phrases.REHEARSAL}"


def test_the_small_print_stays_outside_an_open_fence() -> None:
    parts = talk.reply_parts(event(chat_job(), JobState.SUCCEEDED, reply=reply("```py\nx = 1")), as_persona=True)
    assert parts == (f"```py\nx = 1\n```\n-# Glordon · v2 · {phrases.REHEARSAL}",)


def test_a_question_is_quoted_line_by_line() -> None:
    assert talk.question("Nell", "Glordon", "Hello\n@everyone") == "-# Nell to Glordon\n> Hello\n> @\u200beveryone"
