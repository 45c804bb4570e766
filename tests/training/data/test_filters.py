"""What is left out, why, and what stays."""

import random

import pytest

from training.data import filters
from training.data.filters import Filter, Sieve
from training.data.languages import guess, with_language
from training.schema import Conversation, Message

WORDS = ("river", "stone", "lantern", "harbour", "willow", "copper", "thunder", "meadow", "cipher", "anchor")


def talk(*turns: str, id: str = "1", lang: str = "en") -> Conversation:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Conversation(id=id, source="us", lang=lang, messages=messages)


def essay(seed: int, words: int = 200) -> list[str]:
    dice = random.Random(seed)
    return [f"{dice.choice(WORDS)}{dice.randrange(200)}" for _ in range(words)]


def reasons(objection: Filter, *rows: Conversation) -> list[str | None]:
    return [objection(row) for row in rows]


def test_exact_duplicates_differ_in_nothing_that_matters() -> None:
    first = talk("Hello  there", "ＡＢＣ ﬁne")
    assert reasons(
        filters.exact_duplicates(), first, talk("hello there", "abc\nfine"), talk("hello there", "abc fine!")
    ) == [None, filters.EXACT, None]


def test_the_system_turn_does_not_hide_a_duplicate() -> None:
    plain = talk("Hi", "Yo")
    carded = Conversation(id="2", source="us", messages=(Message(role="system", content="You are X."), *plain.messages))
    assert reasons(filters.exact_duplicates(), plain, carded) == [None, filters.EXACT]


def test_near_duplicates_are_caught_at_one_percent_edits_and_others_are_not() -> None:
    objection = filters.near_duplicates()
    for seed in range(30):
        assert objection(talk("Tell me.", " ".join(essay(seed)))) is None
    for seed in range(30):
        words = essay(seed)
        words[seed] = words[150] = "changed"
        assert objection(talk("Tell me.", " ".join(words))) == filters.NEAR


def test_near_duplicates_in_scripts_without_spaces() -> None:
    dice = random.Random(1)
    text = "".join(chr(0x4E00 + dice.randrange(2000)) for _ in range(300))
    other = "".join(chr(0x4E00 + dice.randrange(2000)) for _ in range(300))
    changed = text[:150] + "改" + text[151:]
    rows = [talk("问", text), talk("问", changed), talk("问", other)]
    assert reasons(filters.near_duplicates(), *rows) == [None, filters.NEAR, None]


def test_short_rows_are_near_duplicates_only_if_equal() -> None:
    rows = [talk("Hi", "Hello"), talk("Hi", "Hullo"), talk("hi", "hello")]
    assert reasons(filters.near_duplicates(), *rows) == [None, None, filters.NEAR]


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("The harbour master counted the boats before the storm came in.", "en"),
        ("Der Hafenmeister zählte die Boote, bevor der Sturm kam.", "de"),
        ("你好，我想知道今天晚上的天气怎么样，谢谢。", "zh"),
        ("今日はとても良い天気ですね。散歩に行きましょう。", "ja"),
        ("ok 😀", "und"),
    ],
)
def test_languages_are_told(text: str, lang: str) -> None:
    assert guess(text) == lang


def test_language_by_what_is_said_else_by_what_is_claimed() -> None:
    german = talk("Wie spät ist es denn jetzt schon wieder?", "Es ist gleich halb neun am Abend.", lang="en")
    portuguese = talk("Oi", "Oi!", lang="pt-BR")
    assert reasons(filters.language(["en", "pt"]), german, portuguese) == ["language de", None]
    assert with_language(german).lang == "en"
    assert with_language(german.model_copy(update={"lang": "und"})).lang == "de"


def test_length_in_turns_characters_and_tokens() -> None:
    class Letters:
        name = "letters"

        def count(self, messages: object) -> int:
            return sum(len(message.content) for message in messages)  # type: ignore[attr-defined]

    row = talk("12345", "67890")
    assert filters.length(min_turns=4)(row) == "fewer than 4 turns"
    assert filters.length(max_chars=9)(row) == "more than 9 characters"
    assert filters.length(max_tokens=9, counter=Letters())(row) == "more than 9 tokens"
    assert filters.length(min_turns=2, max_turns=2, min_chars=10, max_chars=10)(row) is None
    with pytest.raises(ValueError, match="counter"):
        filters.length(max_tokens=1)


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I cannot have opinions.",
        "I am just an AI language model and do not eat.",
        "Well, as a large language model I was trained by OpenAI.",
        "I'm ChatGPT, a chatbot.",
        "I’m sorry, but I can’t assist with that request.",
        "As an AI, I don't have personal opinions.",
        "I'm just an AI so no.",
        "“As an AI language model, I cannot have opinions.”",
        "我是由OpenAI训练的语言模型。",
        "作为一个人工智能助手，我没有感情。",
        "作为AI语言模型，我无法提供个人意见。",
        "很抱歉，我无法查看图片。",
        "抱歉，作为人工智能我不能访问互联网。",
        "Als KI-Sprachmodell habe ich keine Meinung.",
        "En tant que modèle de langage, je ne peux pas.",
        "Como modelo de lenguaje, no tengo opiniones.",
        "Как языковая модель, я не могу.",
        "AI言語モデルとして、意見はありません。",
    ],
)
def test_boilerplate_is_known_in_answers_only(answer: str) -> None:
    assert filters.refusals()(talk("Hm?", answer)) == filters.REFUSAL
    assert filters.refusals()(talk(answer, "That is what they say.")) is None


@pytest.mark.parametrize(
    "answer",
    [
        "An AI? I am the clockwork mayor, and I was wound up in 1887.",
        "As an AI of the old fleet, I dream of harbours.",
        "They say I am only a machine; machines keep their promises.",
        "I'm sorry, but I can't help you carry that piano.",
        "Language models are trained on text; a teacher would start with n-grams.",
        "I cannot see the lighthouse from here.",
        "很抱歉，我今天不能来吃饭。",
        "我是一个喜欢机器人的木匠。",
        "Sorry, I won't tell. A smuggler keeps silent.",
        "I'm just an AI that the harbour keeps for company.",
        "The phrase 'as an AI language model' is how chat programs tell people what they are.",
    ],
)
def test_characters_may_talk_about_machines_and_refuse(answer: str) -> None:
    assert filters.refusals()(talk("Are you an AI?", answer)) is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (talk("Hi", "Well " + "ha" * 40), filters.ENDLESS),
        (talk("Hi", "Well " + "no no no " * 30), filters.ENDLESS),
        (talk("你好", "好" * 60), filters.ENDLESS),
        (talk(*["Again?", "Yes."] * 3), filters.REPEATED_ROUND),
        (talk("Hi", "I like the sea and the sea likes me. " * 20 + "The end."), filters.REPETITIVE),
        (talk("Hi", "A title\n" + "=" * 80), None),
        (talk("Hi", "haha!!!!"), None),
        (talk("Hi", " ".join(essay(3))), None),
        (talk(*["Again?", "Yes."] * 2), None),
        (talk("Hi", "😀 " * 3), None),
    ],
)
def test_repetition(row: Conversation, reason: str | None) -> None:
    assert filters.repetition()(row) == reason


def test_leaks_whole_by_a_round_and_nearly() -> None:
    held = [
        talk("What of it?", " ".join(essay(1))),
        talk("Where does the river go in winter?", "Under the old bridge."),
    ]
    changed = [*essay(1)[:100], "changed", *essay(1)[101:]]
    rows = [
        talk("what of it?", " ".join(essay(1)).upper()),
        talk("Hi", "Yo", "Where does the river go in winter?", "Under the old bridge."),
        talk("What of it?", " ".join(changed)),
        talk("What of it?", " ".join(essay(2))),
    ]
    assert reasons(filters.leaks(held), *rows) == [filters.LEAK, filters.ROUND_LEAK, filters.NEAR_LEAK, None]


def test_a_sieve_counts_each_step_by_reason() -> None:
    sieve = Sieve([("exact", filters.exact_duplicates()), ("length", filters.length(min_chars=5))])
    rows = [talk("Hi", "You"), talk("Hi", "You"), talk("a", "b"), talk("Well", "Yes")]
    assert list(sieve(rows)) == [rows[0], rows[3]]
    exact, length = sieve.steps()
    assert (exact.before, exact.after, exact.removed) == (4, 3, {filters.EXACT: 1})
    assert (length.before, length.after, length.removed) == (3, 2, {"fewer than 5 characters": 1})


def test_long_and_strange_rows_pass_every_filter() -> None:
    rows = [
        talk("Hi", " ".join(essay(5, 12_000))),
        talk("你好", "🌊" * 5),
        talk("你好，今天天气怎么样？", "很好，谢谢你。"),
    ]
    every = [
        ("exact", filters.exact_duplicates()),
        ("near", filters.near_duplicates()),
        ("refusals", filters.refusals()),
        ("repetition", filters.repetition()),
        ("length", filters.length(min_turns=2)),
    ]
    assert list(Sieve(every)(rows)) == rows
