"""What the anonymiser finds, what it leaves, and what it writes instead."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.pii_fresh import Half, Labelled, clean_messages, private_messages
from training.data.anonymise.anonymiser import Anonymiser
from training.data.anonymise.find import find_spans
from training.data.anonymise.pseudonyms import read_key
from training.data.anonymise.spans import LABELS
from training.schema import Conversation, Message

CAST = ("Elio", "Caleb", "Glordon", "Lord Grigon", "Ambassador Questa", "Bryce", "Olga", "Elio Solis")
KEY = b"k" * 32
NEVER_MISSED = ("EMAIL", "MENTION", "SECRET")
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=200) | st.lists(
    st.sampled_from(
        [m.text for m in private_messages(5, "seen", 1)] + ["\u200b", "**", "||", " ", "\n", "é", "ﬁ", "１"]
    ),
    max_size=5,
).map("".join)


def found(message: Labelled, roster: tuple[str, ...] = ()) -> Counter[str]:
    """How many of a message's labelled parts were found, by label."""
    spans = find_spans(message.text, roster, CAST)
    covered = {place for span in spans for place in range(span.start, span.end)}
    return Counter(label for start, end, label in message.spans if set(range(start, end)) <= covered)


@pytest.mark.parametrize("half", ["seen", "held_out"])
def test_recall_on_fresh_messages(half: Half) -> None:
    messages = private_messages(11, half, 3)
    wanted = Counter(label for message in messages for *_, label in message.spans)
    got = sum((found(message) for message in messages), Counter[str]())

    assert all(got[label] == wanted[label] for label in NEVER_MISSED), got
    assert all(got[label] >= 0.95 * wanted[label] for label in wanted), (got, wanted)


@pytest.mark.parametrize("half", ["seen", "held_out"])
def test_clean_messages_stay(half: Half) -> None:
    messages = clean_messages(half)
    touched = [(m.text, found) for m in messages if (found := find_spans(m.text, (), CAST))]
    assert len(touched) <= 0.02 * len(messages), touched


def test_a_roster_finds_names_in_any_case_and_form() -> None:
    roster = ["Quillwort Zandry,qz", "Will"]
    for text in ("ok QUILLWORT", "quillwort's turn", "qz left", "Quill\u200bwort Zandry", "ｑｚ left", "zandry"):
        assert [span.label for span in find_spans(text, roster)] == ["PERSON"], text
    assert not find_spans("i will go", roster)
    assert not find_spans("quillworts", roster)


def test_personas_are_never_masked() -> None:
    assert not find_spans("my name is Elio, ask Caleb and thx Glordon!! elio said so", (), CAST)
    assert not find_spans("Elio Solis fell", ["Elio"], CAST)


@pytest.mark.parametrize(
    "whole",
    ["Olga Petrova", "Bryce Miller", "Caleb Johnson", "Elio Rossi", "Elio Solis Garcia", "Maria Olga Petrova"],
)
def test_whoever_shares_a_name_with_the_cast_is_masked_whole(whole: str) -> None:
    text = f"ping {whole} please"
    assert [text[span.start : span.end] for span in find_spans(text, (), CAST)] == [whole]


@pytest.mark.parametrize(
    "text", ["Olga Please", "Caleb and Bryce", "Elio Solis", "OLGA SMITH WON", "Lord Grigon said", "Bryce's turn"]
)
def test_the_cast_stays_whatever_follows(text: str) -> None:
    assert not find_spans(text, (), CAST)


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("hey I'm ", "Tomás Oliveira"),
        ("I'm ", "Annika Bergström"),
        ("Tell ", "Bjorn Ahlgren"),
        ("Call ", "Peter Hansen"),
        ("Contact ", "Maria Jensen"),
        ("Welcome ", "Anna Petrova"),
        ("Saw ", "Peter Hansen"),
        ("my name is ", "Harry Styles"),
        ("who let ", "Derek"),
        ("our CEO ", "Amy Williams"),
        ("my name is ", "Zorana Connolly"),
    ],
)
def test_a_name_begins_where_it_begins(before: str, name: str) -> None:
    assert [(span.start, span.end) for span in find_spans(before + name)] == [(len(before), len(before + name))]


def test_offsets_are_those_of_the_original() -> None:
    text = "**hi** \u200bmail ｔｈｅｏ＠ex\u200bample．org ok"
    assert [text[span.start : span.end] for span in find_spans(text)] == ["ｔｈｅｏ＠ex\u200bample．org"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Nguyen Van Hung is hosting tonight", "Nguyen Van Hung"),
        ("mrs patel brought samosas", "mrs patel"),
        ("Hyun-woo carried us", "Hyun-woo"),
        ("tina (a) harbour (.) io", "tina (a) harbour (.) io"),
        ("1[.]2[.]3[.]4 is his", "1[.]2[.]3[.]4"),
        ("server: 51.81.12.200:28015", "51.81.12.200"),
        ("2 1 2 - 5 5 5 - 0 1 3 9 try it", "2 1 2 - 5 5 5 - 0 1 3 9"),
        ("login admin / Zx9!plmQ", "Zx9!plmQ"),
        ("mail foo＠bar。com ok", "foo＠bar。com"),
        ("x@y。cn", "x@y。cn"),
        ("mike AT-SIGN yahoo DOT com", "mike AT-SIGN yahoo DOT com"),
        ("s a r a @ mail . com", "s a r a @ mail . com"),
        ("@alice#1234 hi", "@alice#1234"),
        ("@Sara Lind hi", "@Sara Lind"),
        ("住所は東京都新宿区西新宿2-8-1です", "東京都新宿区西新宿2-8-1"),
        ("DM me at jan_kowalski99", "jan_kowalski99"),
        ("u/saralind posted", "u/saralind"),
        ("twitter @ saralind", "saralind"),
        ("ip 84-112-33-19", "84-112-33-19"),
        ("555-0142 is mine", "555-0142"),
        ("2200 Pine St Unit 14, Philadelphia, PA 19103", "2200 Pine St Unit 14, Philadelphia, PA 19103"),
    ],
)
def test_whole_parts_are_found(text: str, part: str) -> None:
    assert part in [text[span.start : span.end] for span in find_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Der Zug kommt heute",
        "Mage left the party",
        "bring 4-6 friends",
        "Taco Bell run",
        "Happy Birthday Martini",
        "Eating Panini",
        "Fantasy Tactics Einstein",
        "Lake Geneva",
        "Zucchini Lasagna Martini",
        "Frequently Asked Questions",
        "King Arthur pulled the sword",
        "Harry Styles is on tour",
        "Anna Karenina is long",
        "Pearl said diamond is better",
        "class Tom(Cat): pass",
        "Additionally, you could wait",
        "its name is irrevocable, it is called inertia",
        "list the names alphabetically",
        "Dear Hiring Manager,",
        "assess team needs",
        "the number of airings at this point in a year",
        "Such a Karen",
        "I'm Exhausted",
        "hp 3400/5200",
        "error code 0x80070005",
        "Heinz ketchup only",
        "Pascal's triangle",
        "dm me at noon, twitter @ noon",
        "10-2-1-1 last night",
        "from 192.168.0.4, 10.2.0.9 and fe80::1",
    ],
)
def test_what_only_sounds_like_somebody_stays(text: str) -> None:
    assert not find_spans(text)


def test_emoji_and_timestamps_stay() -> None:
    text = "<:maria:123456789012345678> <a:tom:123456789012345678> <t:1718900000:R>"
    assert not find_spans(text, ["maria", "tom"])


@given(texts)
@settings(max_examples=120, deadline=None)
def test_spans_are_ordered_and_masking_changes_nothing_else(text: str) -> None:
    anonymiser = Anonymiser(KEY, personas=CAST)
    spans = anonymiser.spans(text)
    assert all(0 <= span.start < span.end <= len(text) and span.label in LABELS for span in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))

    ends = [0, *(place for span in spans for place in (span.start, span.end)), len(text)]
    outside = [text[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True)]
    masked = anonymiser.text(text, "c")
    assert re.fullmatch(".*?".join(re.escape(part) for part in outside), masked, re.DOTALL)


def test_a_second_masking_changes_nothing() -> None:
    anonymiser = Anonymiser(KEY, personas=CAST)
    once = [anonymiser.text(message.text, "c") for message in private_messages(13, "seen", 2)]
    assert [anonymiser.text(text, "c") for text in once] == once


def test_pseudonyms_hold_within_a_conversation_only() -> None:
    turns = ("i'm Miguel Torres, theo@x.org", "hi MIGUEL", "Miguel said theo@x.org", "write to Theo@X.org")
    first, shout, third, fourth = (Anonymiser(KEY).text(turn, "one") for turn in turns)
    name = first.split()[1]
    mail = first.split()[-1]

    assert name.upper() in shout
    assert name in third
    assert third.endswith(mail)
    assert fourth.endswith(mail)
    assert name not in Anonymiser(KEY).text(turns[0], "two")
    assert name not in Anonymiser(b"other", personas=()).text(turns[0], "one")


def test_a_conversation_keeps_its_frame() -> None:
    messages = (Message(role="user", content="I am Theo"), Message(role="assistant", content="Elio here, hi Theo!"))
    row = Conversation(id="1", source="s", messages=messages, meta={"a": "b"})
    masked = Anonymiser(KEY, personas=CAST).conversation(row)
    assert masked.model_copy(update={"messages": messages}) == row
    assert "Theo" not in "".join(message.content for message in masked.messages)
    assert "Elio" in masked.messages[1].content


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    key = read_key(tmp_path / "made" / "key")
    assert len(key) == 64
    assert read_key(tmp_path / "made" / "key") == key
    assert (tmp_path / "made" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "piece", ["a-", "\n", "key_", "市", "Ab ", "_a ", "1 ", "市区1", "password is ", "a@", "ul. Ab "]
)
def test_long_texts_are_read_in_step_with_their_length(piece: str) -> None:
    # What grows with the square of a text would run into the suite's time limit.
    spans = find_spans(piece * (30_000 // len(piece)) + "\nmail theo@example.org")
    assert spans[-1].label == "EMAIL"
