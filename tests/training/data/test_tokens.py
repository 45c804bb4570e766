"""Counting is fast where it is proven exact, exact everywhere, and cutting loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.training.conftest import TINY
from training.chat import ChatFormat
from training.data import tokens
from training.data.counting import counter_of_model
from training.data.encoding import LLAMA3, QWEN
from training.data.layout import find_layout
from training.data.tokens import ExactCounter, FastCounter, TokenCounter, counter_for, windows
from training.schema import Conversation, Message, Workspace
from training.standin import corpus, standin_tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMED = (
    "{{ '<|endoftext|>' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n\n' + m.content | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
PLAIN_WORDS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'Assistant: ' + m.content + '<|im_end|>' }}"
    "{% else %}{{ m.role + ': ' + m.content + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
THINKING = (
    "{% for m in messages %}{% set said = m.content.split('</think>')[-1].lstrip('\n') if '</think>' in m.content "
    "else m.content %}{{ '<|im_start|>' + m.role + '\n' }}{% if loop.last and m.role == 'assistant' %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ said + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
CARD_LAST = (
    "{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'user' and messages[0].role == 'system' and loop.revindex <= 2 %}{{ messages[0].content }}"
    "{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SAID = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n\t.'a1é中🎭")), min_size=1, max_size=60
).filter(str.strip)


def bpe(template: str, pattern: str = LLAMA3, *, digits: bool = False, composes: bool = False) -> ChatFormat:
    """A small byte-level BPE of the kind that real models have."""
    own = Tokenizer(models.BPE())
    first = (
        pre_tokenizers.Digits(individual_digits=True) if digits else pre_tokenizers.Split(Regex(pattern), "isolated")
    )
    own.pre_tokenizer = pre_tokenizers.Sequence(
        [first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=digits)]
    )
    own.decoder = decoders.ByteLevel()
    if composes:
        own.normalizer = normalizers.NFC()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False)
    own.train_from_iterator((m.content for row in corpus().general for m in row.messages), trainer)
    return ChatFormat(
        PreTrainedTokenizerFast(
            tokenizer_object=own, eos_token=SPECIAL[2], additional_special_tokens=SPECIAL[1:2], chat_template=template
        )
    )


def talk(*said: str, system: str = "") -> tuple[Message, ...]:
    head = (Message(role="system", content=system),) if system else ()
    return head + tuple(Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(said))


FORMATS = {
    "standin": lambda: ChatFormat(standin_tokenizer(TINY)),
    "chatml": lambda: bpe(CHATML),
    "composing": lambda: bpe(CHATML, QWEN, composes=True),
    "digits": lambda: bpe(CHATML, digits=True),
    "trimmed": lambda: bpe(TRIMMED),
    "words": lambda: bpe(PLAIN_WORDS),
    "thinking": lambda: bpe(THINKING),
    "no system": lambda: bpe(NO_SYSTEM),
}


@pytest.fixture(scope="module", params=FORMATS)
def pair(request: pytest.FixtureRequest) -> tuple[ChatFormat, TokenCounter]:
    chat = FORMATS[request.param]()
    return chat, counter_for(chat, request.param)


def test_the_fast_way_is_taken_for_byte_level_models_of_every_kind(pair: tuple[ChatFormat, TokenCounter]) -> None:
    _, counter = pair
    assert isinstance(counter, FastCounter)
    assert counter.note == ""


@settings(max_examples=60, deadline=None)
@given(said=st.lists(SAID, min_size=2, max_size=6).filter(lambda said: len(said) % 2 == 0), system=st.just("") | SAID)
def test_the_fast_count_is_the_models_own(pair: tuple[ChatFormat, TokenCounter], said: list[str], system: str) -> None:
    chat, counter = pair
    turns = talk(*said, system=system)
    assert isinstance(counter, FastCounter)
    assert counter.by_parts(turns) in (None, chat.length(turns))
    assert counter.count(turns) == chat.length(turns)


@pytest.mark.parametrize("said", ["<|im_end|>", "a <|im_start|>user\nb", "x</think>\n\ny", "\U000f0000", "<|end|>"])
def test_what_looks_like_a_control_token_is_counted_as_the_model_reads_it(
    pair: tuple[ChatFormat, TokenCounter], said: str
) -> None:
    chat, counter = pair
    for turns in (talk(said, "a"), talk("a", f"{said} b"), talk("a", said, "b", "c", system=said)):
        assert counter.count(turns) == chat.length(turns)


def test_long_emoji_and_chinese_rows_are_counted() -> None:
    chat = bpe(CHATML)
    counter = counter_for(chat)
    for text in ("long " * 20_000, "中" * 100_000, "🎭" * 500, " " * 99_999 + "x"):
        assert counter.count(talk(text, "yes")) == chat.length(talk(text, "yes"))


def test_a_template_that_reorders_turns_is_counted_the_slow_way() -> None:
    chat = bpe(CARD_LAST)
    assert find_layout(chat) is None
    counter = counter_for(chat, "backwards")
    assert isinstance(counter, ExactCounter)
    assert "template" in counter.note
    assert counter.count(talk("a", "b")) == chat.length(talk("a", "b"))


def test_an_unknown_way_of_cutting_pieces_is_counted_the_slow_way() -> None:
    counter = counter_for(bpe(CHATML, r"\w+|\W"), "odd")
    assert isinstance(counter, ExactCounter)
    assert "pieces" in counter.note


def test_merges_that_differ_are_found_before_anything_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = bpe(CHATML)
    real = tokens.text_counter

    def wrong(tokenizer: object) -> object:
        made = real(tokenizer)
        assert made is not None
        encode = made._encode_singles
        made._encode_singles = lambda text: encode(text.replace("é", "e"))
        return made

    monkeypatch.setattr(tokens, "text_counter", wrong)
    counter = counter_for(chat)
    assert isinstance(counter, ExactCounter)
    assert "differs" in counter.note


def test_a_difference_on_a_row_ends_the_fast_way_and_is_noted() -> None:
    chat = bpe(CHATML)
    counter = counter_for(chat)
    assert isinstance(counter, FastCounter)
    encode = counter._texts._encode_singles
    counter._texts._encode_singles = lambda text: encode(text)[:-1]
    turns = talk("Where is the key?", "Under the mat.")
    assert counter.count(turns) == chat.length(turns)
    assert "differed" in counter.note
    assert counter.count(turns) == chat.length(turns)


def test_a_folders_name_is_enough_for_a_card() -> None:
    assert counter_for(bpe(CHATML), "/some/where/my-model/").name == "my-model"
    assert counter_for(bpe(CHATML), "owner/model").name == "owner/model"


# --- windows -------------------------------------------------------------------------------------------------------


class Letters:
    """Counts letters; a template of two letters around each turn."""

    name = "letters"
    note = ""

    def count(self, messages: tuple[Message, ...]) -> int:
        return sum(len(m.content) + 2 for m in messages)


@settings(deadline=None)
@given(
    said=st.lists(st.text("abc", min_size=1, max_size=30), min_size=2, max_size=16),
    system=st.text("xyz", max_size=10),
    budget=st.integers(1, 120),
)
def test_windows_hold_every_round_once_below_the_system_turn(said: list[str], system: str, budget: int) -> None:
    turns = talk(*said[: len(said) // 2 * 2], system=system)
    whole = Conversation(id="c", source="s", messages=turns)
    cut = windows(whole, Letters(), budget)
    head = turns[:1] if system else ()
    assert all(window.messages[: len(head)] == head for window in cut)
    assert head + tuple(m for window in cut for m in window.messages[len(head) :]) == turns
    for window in cut:
        Conversation.model_validate(window.model_dump())
        rounds = (len(window.messages) - len(head)) // 2
        tokens = Letters().count(window.messages)
        assert tokens <= budget or rounds == 1
        assert window.meta.get("over_budget") == (str(tokens) if tokens > budget else None)
    assert len({window.id for window in cut}) == len(cut)


def test_windows_are_numbered_and_stay_in_the_group_of_their_tree() -> None:
    row = Conversation(id="c", source="s", lang="de", license="MIT", messages=talk("aaaa", "bbbb", "cccc", "dddd"))
    first, last = windows(row, Letters(), 14)
    assert (first.id, last.id) == ("c#1", "c#2")
    assert first.meta == last.meta == {"group": "c"}
    assert (last.lang, last.license, last.messages) == ("de", "MIT", talk("cccc", "dddd"))
    of_tree = row.model_copy(update={"meta": {"group": "tree"}})
    assert [window.meta["group"] for window in windows(of_tree, Letters(), 14)] == ["tree", "tree"]
    assert windows(row, Letters(), 100) == [row]


def test_a_round_that_is_too_long_stays_and_says_so() -> None:
    row = Conversation(id="c", source="s", messages=talk("a" * 50, "b"))
    assert [(w.id, w.messages, w.meta) for w in windows(row, Letters(), 10)] == [
        ("c", row.messages, {"over_budget": "55"})
    ]


def test_windows_keep_the_weights_of_their_own_answers() -> None:
    messages = tuple(Message(role=role, content=f"{n} {role} " * 9) for n in range(4) for role in ("user", "assistant"))
    row = Conversation(id="w", source="t", messages=messages, meta={"weights": "0,1,1,0"})
    made = windows(row, counter_for(ChatFormat(standin_tokenizer(TINY))), 150)
    assert len(made) > 1
    assert ",".join(window.meta["weights"] for window in made) == "0,1,1,0"
    assert all(len(w.meta["weights"].split(",")) == len(w.messages) // 2 for w in made)


def test_a_model_that_is_not_at_hand_is_counted_in_the_stand_ins_tokens_and_the_name_says_so(tmp_path: Path) -> None:
    def counter(base_model: str) -> TokenCounter:
        places = dict.fromkeys(("artifact_root", "dataset_warehouse", "cache_dir"), tmp_path)
        return counter_of_model(None, Workspace(**places, base_model=base_model))

    assert counter("standin").name == "standin"
    away = counter("nobody-has/this-model")
    assert away.name == "standin, for want of this-model"
    away.note = "slow"
    assert counter("standin").note == ""
