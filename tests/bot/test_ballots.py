"""The file of blind votes: every vote kept once, every close told once, voters as pseudonyms, whenever the bot dies."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from bot.ballot_box import Ballots, Closed, Poll, new_id
from bot.errors import BallotKeyLost, VotesInUse
from bot.notices import Notice, NoticeKind
from training.data.schema import Typed
from training.evaluation.schema import Contender, Rubric, Vote, VoteChoice, VotePair

GUILD, CHANNEL, ASKER, TRAINER = "1200000000000000000", "1200000000000000020", "1200000000000000001", "12000000002"
NOW = 1_900_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ballots.sqlite3"


def poll(
    poll_id: str = "", about: str | None = None, guild_id: str = GUILD, hours: float = 24, asker: str = ASKER
) -> Poll:
    return Poll(
        id=poll_id or new_id(),
        guild_id=guild_id,
        channel_id=CHANNEL,
        persona="glordon",
        about=about,
        asker=asker,
        opened_at=NOW,
        closes_at=NOW + hours * 3600,
    )


def pair(pair_id: str = "", asked_by: str = "sheet") -> VotePair:
    return VotePair.model_validate(
        {
            "id": pair_id or new_id(),
            "persona": "glordon",
            "question": "How is Elio?",
            "first": Contender(version=None, answer="Who?"),
            "second": Contender(version=2, answer="A friend."),
            "asked_by": asked_by,
        }
    )


def vote(about: VotePair, voter: str = "voter", choice: VoteChoice = VoteChoice.FIRST) -> Vote:
    return Vote(pair=about.id, voter=voter, choice=choice)


def opened(ballots: Ballots, *pairs: VotePair, **changes: object) -> Poll:
    made = poll(**changes)  # type: ignore[arg-type]
    assert ballots.open(made, pairs or [pair()], [ballots.pseudonym(GUILD, TRAINER)])
    return made


def settle(ballots: Ballots, notice: Notice, message_id: str = "77") -> None:
    ballots.begin(notice)
    ballots.sent(notice, message_id)


# --- voting --------------------------------------------------------------------------------------------------------


def test_it_is_for_its_owner_only(path: Path) -> None:
    Ballots(path)
    assert [stat.S_IMODE(file.stat().st_mode) for file in (path, path.with_suffix(".key"))] == [0o600] * 2


def test_the_last_choice_counts_and_survives_a_restart(path: Path) -> None:
    ballots, one = Ballots(path), pair()
    made = opened(ballots, one)
    assert ballots.cast(vote(one, choice=VoteChoice.FIRST), NOW)
    assert ballots.cast(vote(one, choice=VoteChoice.BAD), NOW + 1)
    assert ballots.cast(vote(one, "another", VoteChoice.TIE), NOW + 2)
    ballots.close()
    again = Ballots(path)
    assert again.votes(made.id) == [vote(one, "another", VoteChoice.TIE), vote(one, choice=VoteChoice.BAD)]
    assert again.choices_of(made.id, "voter") == {one.id: VoteChoice.BAD}
    assert again.pairs(made.id) == [one]
    assert again.poll(made.id) == made


def test_nothing_is_taken_after_the_deadline_or_the_close(path: Path) -> None:
    ballots, one = Ballots(path), pair()
    made = opened(ballots, one)
    said = Rubric(pair=one.id, voter="voter", side="first", in_character=5, true_to_facts=4, worth_talking_to=3)
    assert ballots.rate(said, NOW)
    assert not ballots.cast(vote(one), made.closes_at)
    assert not ballots.rate(said.model_copy(update={"in_character": 1}), made.closes_at)
    assert ballots.end(made.id, Closed.SETTLED, NOW + 5)
    assert not ballots.cast(vote(one), NOW + 6)
    assert ballots.votes(made.id) == []
    assert ballots.rubrics(made.id) == [said]
    assert not ballots.cast(vote(pair()), NOW), "nor for a pair that nobody knows"


def test_whoever_trained_a_version_is_left_out_by_pseudonym(path: Path) -> None:
    ballots = Ballots(path)
    made = opened(ballots)
    assert ballots.is_excluded(made.id, ballots.pseudonym(GUILD, TRAINER))
    assert not ballots.is_excluded(made.id, ballots.pseudonym(GUILD, ASKER))


def test_one_open_vote_on_a_job_at_a_time(path: Path) -> None:
    ballots = Ballots(path)
    first = opened(ballots, about="a1b2c3d4e5f6")
    assert not ballots.open(poll(about="a1b2c3d4e5f6"), [pair()])
    opened(ballots, about="a1b2c3d4e5f6", guild_id="1299999999999999999")
    ballots.end(first.id, Closed.DEADLINE, NOW)
    opened(ballots, about="a1b2c3d4e5f6")
    opened(ballots)
    opened(ballots)


def test_a_vote_that_cannot_be_kept_whole_is_not_kept(path: Path) -> None:
    ballots, taken = Ballots(path), pair()
    opened(ballots, taken)
    made = poll()
    with pytest.raises(sqlite3.IntegrityError):
        ballots.open(made, [pair(), taken])
    assert ballots.poll(made.id) is None
    assert len(ballots.owed(NOW)) == 1


# --- who is who ----------------------------------------------------------------------------------------------------


def test_voters_are_pseudonyms_that_another_file_does_not_give(path: Path, tmp_path: Path) -> None:
    ballots, other = Ballots(path), Ballots(tmp_path / "other.sqlite3")
    name = ballots.pseudonym(GUILD, ASKER)
    assert re.fullmatch("[0-9a-f]{16}", name)
    assert name == Ballots(path).pseudonym(GUILD, ASKER)
    assert len({name, other.pseudonym(GUILD, ASKER), ballots.pseudonym("12", ASKER)}) == 3


def test_sides_stay_as_they_are_and_fall_evenly(path: Path) -> None:
    ballots, one = Ballots(path), pair()
    voters = [ballots.pseudonym(GUILD, str(number)) for number in range(400)]
    sides = [ballots.is_turned(one.id, voter) for voter in voters]
    again = Ballots(path)
    assert sides == [again.is_turned(one.id, voter) for voter in voters]
    assert 150 < sum(sides) < 250
    other = [ballots.is_turned("0" * 12, voter) for voter in voters]
    assert 150 < sum(a == b for a, b in zip(sides, other, strict=True)) < 250, "nor does one pair tell of another"


def test_what_is_exported_names_no_member(path: Path) -> None:
    ballots, one, typed = Ballots(path), pair(), pair(asked_by="member")
    made = opened(ballots, one, typed)
    ballots.cast(vote(one, ballots.pseudonym(GUILD, ASKER)), NOW)
    assert ballots.closed(GUILD, "glordon").pairs == ()
    ballots.end(made.id, Closed.DEADLINE, NOW + 1)
    box = ballots.closed(GUILD, "glordon")
    assert (box.pairs, len(box.votes)) == ((one, typed), 1)
    assert ASKER not in box.model_dump_json()
    assert ballots.typed(GUILD, "glordon") == {typed.id: Typed(user=ASKER, channel=CHANNEL)}
    assert ballots.closed(GUILD, "questa").pairs == ballots.closed("12", "glordon").pairs == ()


def test_no_member_can_be_named_by_the_file_of_votes_alone(path: Path) -> None:
    ballots, typed = Ballots(path), pair(asked_by="member")
    made = opened(ballots, typed)
    ballots.note_trainer(GUILD, "a1b2c3d4e5f6", TRAINER)
    ballots.cast(vote(typed, ballots.pseudonym(GUILD, "1200000000000000003")), NOW)
    key = path.with_suffix(".key").read_bytes()
    ballots.close()
    written = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".key")
    assert b"How is Elio?" in written
    assert not any(known in written for known in (key, ASKER.encode(), TRAINER.encode(), b"1200000000000000003"))
    known = Ballots(path).poll(made.id)
    assert known
    assert known.asker == ASKER, "who holds the key may mention whoever asked"


def test_votes_whose_key_is_lost_are_not_gone_on_with(path: Path) -> None:
    opened(Ballots(path))
    path.with_suffix(".key").unlink()
    with pytest.raises(BallotKeyLost, match=r"ballots\.key is gone"):
        Ballots(path)
    assert not path.with_suffix(".key").exists()


def test_a_file_that_held_key_and_ids_itself_is_brought_up_to_date(path: Path) -> None:
    ballots, typed = Ballots(path), pair(asked_by="member")
    made = opened(ballots, typed)
    voter = ballots.pseudonym(GUILD, TRAINER)
    ballots.end(made.id, Closed.DEADLINE, NOW)
    ballots.close()
    key = path.with_suffix(".key")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE secret (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL)")
        db.execute("INSERT INTO secret VALUES (1, ?)", (key.read_bytes(),))
        db.execute("ALTER TABLE pairs ADD COLUMN asker TEXT")
        db.execute("UPDATE pairs SET asker = ?", (ASKER,))
        db.execute("UPDATE polls SET asker = ?", (ASKER,))
        db.execute("DROP VIEW owed")
        db.execute("ALTER TABLE notices DROP COLUMN begun_at")
    db.close()
    key.unlink()
    for _ in range(2):
        again = Ballots(path)
        assert again.pseudonym(GUILD, TRAINER) == voter
        assert again.is_excluded(made.id, voter)
        assert again.typed(GUILD, "glordon")[typed.id].user == ASKER
        assert [notice.begun_at for notice in again.owed(NOW)] == [None]
        again.close()
    assert ASKER.encode() not in path.read_bytes()


def test_who_trained_a_version_is_known_for_as_long_as_there_are_votes(path: Path) -> None:
    ballots = Ballots(path)
    assert ballots.trainer(GUILD, "a1b2c3d4e5f6") == (False, None)
    ballots.note_trainer(GUILD, "a1b2c3d4e5f6", TRAINER)
    ballots.note_trainer(GUILD, "a1b2c3d4e5f6", ASKER)
    ballots.note_trainer(GUILD, "b1b2c3d4e5f6", None)
    ballots.close()
    again = Ballots(path)
    assert again.trainer(GUILD, "a1b2c3d4e5f6") == (True, again.pseudonym(GUILD, TRAINER))
    assert again.trainer(GUILD, "b1b2c3d4e5f6") == (True, None)
    assert again.trainer("12", "a1b2c3d4e5f6") == (False, None)


# --- what channels are owed ----------------------------------------------------------------------------------------


def test_a_vote_owes_its_call_and_then_once_its_result_and_its_end(path: Path) -> None:
    ballots = Ballots(path)
    made = opened(ballots)
    [call] = ballots.owed(NOW)
    assert (call.kind, call.in_doubt) == (NoticeKind.CALL, False)
    assert ballots.end(made.id, Closed.SETTLED, NOW)
    assert not ballots.end(made.id, Closed.DEADLINE, NOW + 1)
    assert [notice.kind for notice in ballots.owed(NOW)] == [NoticeKind.CALL], "the result waits for the call"
    settle(ballots, call)
    [result] = ballots.owed(NOW)
    assert result.kind is NoticeKind.RESULT
    settle(ballots, result, "78")
    [over] = ballots.owed(NOW)
    assert over.kind is NoticeKind.OVER
    assert ballots.message_of(made.id, NoticeKind.CALL) == "77"
    settle(ballots, over)
    assert ballots.owed(NOW) == []
    assert ballots.next_due() is None
    closed = ballots.poll(made.id)
    assert closed is not None
    assert (closed.closed_at, closed.reason) == (NOW, Closed.SETTLED)


def test_what_was_being_sent_is_in_doubt_at_the_next_start(path: Path) -> None:
    ballots = Ballots(path)
    opened(ballots)
    ballots.begin(ballots.owed(NOW)[0])
    ballots.close()
    [call] = Ballots(path).owed(NOW)
    assert call.in_doubt
    assert call.begun_at == pytest.approx(time.time(), abs=60)


def test_what_is_put_off_waits_and_holds_up_no_other_vote(path: Path) -> None:
    ballots = Ballots(path)
    first, second = opened(ballots), opened(ballots)
    ballots.end(first.id, Closed.DEADLINE, NOW)
    ballots.put_off(ballots.owed(NOW)[0], NOW + 60)
    assert [notice.poll for notice in ballots.owed(NOW)] == [second.id]
    settle(ballots, ballots.owed(NOW)[0])
    assert ballots.owed(NOW) == []
    assert ballots.next_due() == NOW + 60
    [call] = ballots.owed(NOW + 60)
    assert (call.poll, call.attempts) == (first.id, 1)
    ballots.park(call)
    assert [notice.kind for notice in ballots.owed(NOW)] == [NoticeKind.RESULT]


def test_deadlines(path: Path) -> None:
    ballots = Ballots(path)
    assert ballots.next_deadline() is None
    late, soon = opened(ballots, hours=48), opened(ballots, hours=1)
    assert ballots.next_deadline() == soon.closes_at
    assert ballots.overdue(NOW) == []
    assert ballots.overdue(soon.closes_at) == [soon.id]
    ballots.end(soon.id, Closed.DEADLINE, NOW)
    assert ballots.next_deadline() == late.closes_at


def _vote_until_killed(path: Path, heard: Path, pair_id: str) -> None:
    """Casts one vote after another, and notes each that it was told is kept."""
    ballots = Ballots(path)
    with heard.open("a") as log:
        for number in range(100_000):
            assert ballots.cast(Vote(pair=pair_id, voter=f"{os.getpid()}-{number}", choice=VoteChoice.TIE), NOW)
            log.write(f"{os.getpid()}-{number}\n")
            log.flush()


def test_no_vote_that_was_confirmed_is_lost_by_a_kill(path: Path, tmp_path: Path) -> None:
    ballots, one, heard = Ballots(path), pair(), tmp_path / "heard"
    made = opened(ballots, one)
    ballots.close()
    context = multiprocessing.get_context("spawn")
    rng = random.Random(5)
    for _ in range(3):
        process = context.Process(target=_vote_until_killed, args=(path, heard, one.id))
        process.start()
        before = heard.stat().st_size if heard.exists() else 0
        deadline = time.monotonic() + 30
        while not heard.exists() or heard.stat().st_size == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
    confirmed = set(heard.read_text().splitlines())
    kept = {known.voter for known in Ballots(path).votes(made.id)}
    assert confirmed
    assert confirmed <= kept
    assert len(kept - confirmed) <= 3


def test_a_member_who_is_to_be_forgotten_is_gone_from_votes(path: Path) -> None:
    ballots = Ballots(path)
    typed = pair(asked_by="member").model_copy(update={"question": "Which secret do I keep?"})
    own, elsewhere = pair(), pair()
    made = opened(ballots, typed)
    others = opened(ballots, own, asker="1200000000000000009")
    foreign = opened(ballots, elsewhere, guild_id="77")
    voters = {guild: ballots.pseudonym(guild, ASKER) for guild in (GUILD, "77")}
    for one, voter in ((typed, "b" * 16), (own, voters[GUILD]), (own, "b" * 16), (elsewhere, voters["77"])):
        assert ballots.cast(vote(one, voter), NOW)
    form = {"side": "first", "in_character": 1, "true_to_facts": 1, "worth_talking_to": 1}
    assert ballots.rate(Rubric.model_validate({"pair": own.id, "voter": voters[GUILD], **form}), NOW)
    ballots.note_trainer(GUILD, "a" * 12, ASKER)

    other = Ballots(path)  # as the command has it, while the bot runs
    assert other.forget(GUILD, ASKER) == 3, "a vote, a form and a question"
    assert other.forget(GUILD, ASKER) == 0
    other.close()
    on_disk = b"".join(file.read_bytes() for file in path.parent.glob("*.sqlite3*"))
    assert voters[GUILD].encode() not in on_disk
    assert typed.question.encode() not in on_disk
    assert [one.voter for one in ballots.votes(others.id)] == ["b" * 16]
    assert ballots.rubrics(others.id) == []
    assert [one.voter for one in ballots.votes(foreign.id)] == [voters["77"]], "of another server"
    [left] = ballots.pairs(made.id)
    assert (left.question, left.first.answer, left.second.answer) == ("(forgotten)", "", "")
    known = ballots.poll(made.id)
    assert known
    assert (known.asker, known.closed_at is None) == ("0", False), "what nobody asked is open no more"
    assert ballots.typed(GUILD, "glordon")[typed.id].user == "0", "whom no consent names"
    assert ballots.trainer(GUILD, "a" * 12) == (False, None), "it is looked up again"
    owed = [(notice.poll, notice.kind) for notice in ballots.owed(NOW * 2)]
    assert owed == [(others.id, NoticeKind.CALL), (foreign.id, NoticeKind.CALL), (made.id, NoticeKind.OVER)]


def test_whoever_is_forgotten_stays_excluded_from_votes_that_are_open(path: Path) -> None:
    ballots = Ballots(path)
    voter = ballots.pseudonym(GUILD, TRAINER)
    made, ended = opened(ballots), opened(ballots)
    assert ballots.end(ended.id, Closed.DEADLINE, NOW)
    ballots.forget(GUILD, TRAINER)
    assert ballots.is_excluded(made.id, voter)
    assert not ballots.is_excluded(ended.id, voter)


def test_the_command_forgets_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    asked = ["forget-votes", "--guild", GUILD, "--user", ASKER]
    told = CliRunner().invoke(cli.app, asked)
    assert (told.exit_code, told.stdout) == (0, "No votes are kept here.\n")
    ballots = Ballots(tmp_path / "bot-ballots.sqlite3")
    typed = pair(asked_by="member")
    opened(ballots, typed)
    assert ballots.cast(vote(typed, ballots.pseudonym(GUILD, ASKER)), NOW)
    told = CliRunner().invoke(cli.app, asked)
    assert (told.exit_code, told.stdout) == (0, "Removed 2 entries.\n")
    assert ballots.votes(ballots.poll_of(typed.id).id) == []  # type: ignore[union-attr]
    refused = CliRunner().invoke(cli.app, [*asked[:-1], "mara"])
    assert refused.exit_code == 2


def test_what_a_reader_keeps_in_the_log_is_told_and_gone_the_next_time(path: Path) -> None:
    ballots = Ballots(path)
    opened(ballots, pair(asked_by="member"))
    with sqlite3.connect(path, isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM pairs").fetchall()
        with pytest.raises(VotesInUse, match="another program reads the bot's file"):
            ballots.forget(GUILD, ASKER)
        reader.execute("COMMIT")
    ballots.forget(GUILD, ASKER)
    assert b"How is Elio?" not in b"".join(file.read_bytes() for file in path.parent.glob("*.sqlite3*"))
