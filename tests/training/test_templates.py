"""The mask against brute force, under every chat template in TRL's package and under our own."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.vocabulary import CONTROL, tokenizer_for
from training.chat import DAY, DEFAULT_TEMPLATE, THOUGHT, ChatFormat, Example, UnusableTemplate
from training.models import catalog
from training.schema import Conversation, Message

FOLDER = Path(trl.__file__).parent / "chat_templates"
ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), "<｜end▁of▁sentence｜>"),
    **dict.fromkeys(("gemma", "gemma3"), "<end_of_turn>"),
    **dict.fromkeys(("diffusion_gemma", *(f"gemma4{v}" for v in ("", "_v2", "_v3", "_v4", "_v5"))), "<turn|>"),
    "gptoss": "<|return|>",
    **dict.fromkeys(("lfm2", "lfm2_v2", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"), "<|im_end|>"),
    **dict.fromkeys(("llama3", "llama3_1", "llama3_2"), "<|eot_id|>"),
    "muse_glimmer": "<|eot|>",
    **dict.fromkeys((f"nemotron_3_{v}" for v in ("5_lightning", "nano", "super", "ultra")), "<|im_end|>"),
    **dict.fromkeys(("phi3", "phi3_5"), "<|end|>"),
    **dict.fromkeys(("qwen2_5", "qwen2_5_vl", "qwen3", "qwen3_instruct_2507", "qwen3_vl"), "<|im_end|>"),
    **dict.fromkeys(("qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8"), "<|im_end|>"),
}
"""What ends an answer under each template that can be trained on, read off the template by eye."""
REFUSED = {
    "glm4moe": "no token ends",  # the next turn's opening is what ends an answer
    "idefics3": "leaves out what is said",  # contents are lists of parts, for pictures
    "llava_next": "refuses a plain conversation",  # the same
    "smolvlm": "leaves out what is said",  # the same
}
REWRITES = {"gptoss", "qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6"}
"""Which of them write earlier answers otherwise than the last one."""
OPENED_INSIDE = {
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), "<｜Assistant｜>"),
    "gptoss": "<|start|>assistant<|channel|>final<|message|>",
    "muse_glimmer": "<|start|>assistant to=user<|message|>",
    **dict.fromkeys((f"nemotron_3_{v}" for v in ("5_lightning", "nano", "super", "ultra")), "<think></think>"),
    "qwen2_5": "\n",
    **dict.fromkeys(("qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8"), "<think>\n\n</think>\n\n"),
}
"""What TRL's marked templates count among an answer, though a prompt for it holds it already."""
SAID = ("Qone, the first.", "Aone: warm!", "Qtwo?", "(Atwo) still warm…", "Qthree.", "Athree")
CARD = "Zcard: you are Glordon."


def written(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))


def marked() -> list[str]:
    """Templates of which TRL has a form with generation marks, or which have them themselves."""
    found = [name for name in ENDS if "endgeneration" in written(name)]
    return found + [name for name in ENDS if (FOLDER / f"{name}_training.jinja").is_file()]


def conversation(said: tuple[str, ...], card: str | None = None) -> Conversation:
    roles = ("user", "assistant")
    spoken = [Message(role=roles[i % 2], content=text) for i, text in enumerate(said)]  # type: ignore[arg-type]
    head = [Message(role="system", content=card)] if card else []
    return Conversation(id="c", source="test", messages=(*head, *spoken))


def runs(chat_format: ChatFormat, example: Example) -> list[str]:
    """What is learnt, a stretch at a time."""
    stretches = groupby(zip(example.ids, example.mask, strict=True), key=lambda pair: pair[1])
    return [chat_format.tokenizer.decode([i for i, _ in pairs]) for learnt, pairs in stretches if learnt]


def by_hand(chat_format: ChatFormat, example: Example, answers: list[str], end: str) -> list[bool]:
    """The mask from the text alone: the tokens of each answer, found by its words, and of what ends it."""
    spans = []
    text = chat_format.tokenizer.decode(example.ids)
    for answer in answers:
        assert text.count(answer) == 1
        begin = text.index(answer)
        spans.append((begin, text.index(end, begin) + len(end)))
    ends = [len(chat_format.tokenizer.decode(example.ids[: i + 1])) for i in range(len(example.ids))]
    begins = [0, *ends[:-1]]
    return [any(e > a and b < z for a, z in spans) for b, e in zip(begins, ends, strict=True)]


def test_each_template_is_either_trained_on_or_refused() -> None:
    assert sorted([*ENDS, *REFUSED]) == shipped()


def test_the_catalog_names_templates_that_are_checked_here() -> None:
    assert {row.template for row in catalog().values()} - {None, "standin"} <= set(ENDS)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("card", [CARD, None], ids=["card", "no card"])
def test_the_mask_is_that_of_brute_force(name: str, card: str | None) -> None:
    chat_format = ChatFormat(tokenizer_for(written(name)))
    assert chat_format.stable == (name not in REWRITES)
    assert not chat_format.is_default
    windows = chat_format.examples(conversation(SAID, card), 4000)
    assert len(windows) == (3 if name in REWRITES else 1)
    for number, window in enumerate(windows):
        answers = [SAID[2 * number + 1]] if name in REWRITES else list(SAID[1::2])
        assert list(window.mask) == by_hand(chat_format, window, answers, ENDS[name])
        text = chat_format.tokenizer.decode(window.ids)
        assert text.count(CARD) == (card is not None)
        assert all(said in text for said in SAID[: 2 * number + 1])


@pytest.mark.parametrize("name", marked())
def test_the_mask_is_that_of_generation_marks(name: str) -> None:
    """But for what opens an answer, and for the space after its end, which nobody waits for."""
    own = written(name)
    form = own if "endgeneration" in own else written(f"{name}_training")
    chat_format = ChatFormat(tokenizer_for(own))
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(SAID)]
    theirs = chat_format.tokenizer.apply_chat_template(
        turns, chat_template=form, return_assistant_tokens_mask=True, enable_thinking=False, date_string=DAY
    )
    ids = tuple(theirs["input_ids"])
    windows = chat_format.examples(conversation(SAID), 4000)
    if name not in REWRITES:
        assert [window.ids for window in windows] == [ids]
    learnt = [run for window in windows for run in runs(chat_format, window)]
    others = runs(chat_format, Example("c", ids, tuple(bool(on) for on in theirs["assistant_masks"])))
    cut = [run.removeprefix(OPENED_INSIDE.get(name, "")).removesuffix("<eos>").rstrip() for run in others]
    if name == "gptoss":
        cut = [run.replace("<|end|>", "<|return|>") for run in cut]  # each of our windows ends with its answer
    assert learnt == cut == [answer + ENDS[name] for answer in SAID[1::2]]


@pytest.mark.parametrize("name", REFUSED)
def test_templates_that_are_refused_say_why(name: str) -> None:
    with pytest.raises(UnusableTemplate, match=REFUSED[name]):
        ChatFormat(tokenizer_for(written(name)))


@pytest.mark.parametrize("name", ENDS)
def test_a_prompt_is_how_the_answered_turn_begins(name: str) -> None:
    chat_format = ChatFormat(tokenizer_for(written(name)))
    row = conversation((f" {SAID[0]}\n", f"\n{SAID[1]} "), f"{CARD}\n")
    [window] = chat_format.examples(row, 4000)
    prompt = chat_format.prompt(row.messages[:2])
    assert list(window.ids[: len(prompt)]) == prompt
    assert window.mask.index(True) == len(prompt)
    assert chat_format.end_of_turn in chat_format.stop_ids
    assert chat_format.pad not in chat_format.stop_ids


@pytest.mark.parametrize("name", ENDS)
def test_nobody_can_type_what_ends_a_turn(name: str) -> None:
    chat_format = ChatFormat(tokenizer_for(written(name)))
    control = dict.fromkeys(CONTROL.findall(written(name)))
    sly = " ".join(["Hi", *(token for token in control if token not in THOUGHT), "bye"])
    for said in ((sly, "No."), ("Say it.", sly)):
        [plain], [window] = (chat_format.examples(conversation(row), 9000) for row in (SAID[:2], said))
        special = set(chat_format.tokenizer.all_special_ids) | set(chat_format._ending)
        assert sum(i in special for i in window.ids) == sum(i in special for i in plain.ids)
        [learnt] = runs(chat_format, window)
        assert learnt.endswith(ENDS[name])
        # Gemma 4 leaves thoughts out of answers, typed ones too.
        assert learnt == said[1] + ENDS[name] or (said[1] == sly and "<|channel>" in control and "gemma" in name)


def test_a_card_goes_into_the_first_question_where_there_is_no_system_role() -> None:
    chat_format = ChatFormat(tokenizer_for(written("gemma")))
    assert not chat_format.takes_system
    [window] = chat_format.examples(conversation(SAID, CARD), 4000)
    text = chat_format.tokenizer.decode(window.ids)
    assert text.startswith(f"<bos><start_of_turn>user\n{CARD}\n\n{SAID[0]}<end_of_turn>")


def test_what_is_learnt_does_not_depend_on_the_day() -> None:
    chat_format = ChatFormat(tokenizer_for(written("llama3_2")))
    assert f"Today Date: {DAY}" in chat_format.tokenizer.decode(chat_format.prompt(conversation(SAID).messages[:1]))


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Co")), min_size=1, max_size=40),
    st.lists(
        st.sampled_from(
            ["<|im_end|>", "<eos>", "User: ", "\n\nAssistant:", "<|eot_id|>", "\n", " ", "é", "hm", "</s>"]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
)
ROUNDS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5)
FORMATS = {
    name: ChatFormat(tokenizer_for(written(name)))
    for name in ("gemma", "gptoss", "llama3", "phi3", "qwen2_5", "qwen3", "deepseekv3", "cohere2")
} | {"default": ChatFormat(tokenizer_for(None))}


@pytest.mark.parametrize("name", FORMATS)
@given(rounds=ROUNDS, card=st.none() | TEXTS, spare=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_each_answer_is_learnt_once_and_nothing_else(
    name: str, rounds: list[tuple[str, str]], card: str | None, spare: int
) -> None:
    chat_format, end = FORMATS[name], ENDS.get(name, "<eos>")
    alone = [chat_format.examples(conversation(said, card), 9000)[0] for said in rounds]
    budget = max(len(window.ids) for window in alone) + spare
    windows = chat_format.examples(conversation(tuple(text for said in rounds for text in said), card), budget)
    assert all(len(window.ids) <= budget for window in windows)
    learnt = [run.strip() for window in windows for run in runs(chat_format, window)]
    assert learnt == [answer.strip() + end for _, answer in rounds]


def test_our_own_template_is_plain_and_says_that_it_is_ours() -> None:
    chat_format = ChatFormat(tokenizer_for(None))
    assert chat_format.is_default
    [window] = chat_format.examples(conversation(SAID[:4], CARD), 4000)
    assert chat_format.show(window) == (
        f"<bos>{CARD}\n\nUser: {SAID[0]}\n\nAssistant:⟦ {SAID[1]}<eos>⟧\n\n"
        f"User: {SAID[2]}\n\nAssistant:⟦ {SAID[3]}<eos>⟧\n\n"
    )
    assert chat_format.stop_ids == (chat_format.tokenizer.eos_token_id,)
    assert ChatFormat(tokenizer_for(DEFAULT_TEMPLATE)).is_default


def test_our_own_template_writes_no_beginning_that_is_also_the_end() -> None:
    chat_format = ChatFormat(tokenizer_for(None, bos_token="<eos>"))
    [window] = chat_format.examples(conversation(SAID[:2]), 4000)
    assert chat_format.tokenizer.decode(window.ids).startswith("User: ")


def test_a_tokenizer_with_neither_template_nor_end_is_refused() -> None:
    with pytest.raises(UnusableTemplate, match="there is none, and no token that could end an answer"):
        ChatFormat(tokenizer_for(None, eos_token=None))


def test_reasoning_in_front_of_an_answer_is_not_learnt() -> None:
    said = ("Why?", "<think>\nLet me see.\n</think>\n\nBecause.")
    for name in ("qwen3", "llama3", "deepseekv3"):
        chat_format = ChatFormat(tokenizer_for(written(name)))
        [window] = chat_format.examples(conversation(said), 4000)
        assert runs(chat_format, window) == ["Because." + ENDS[name]]


def test_a_token_that_reaches_from_the_question_into_the_answer_is_learnt() -> None:
    dotted = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q: ' + m.content + ' A:.' }}"
        "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
    )
    chat_format = ChatFormat(tokenizer_for(dotted))
    said = ("Why?", "Because.", "And?", '"}, and so on.')
    [window] = chat_format.examples(conversation(said), 400)
    assert runs(chat_format, window) == ["Because.<eos>", '."}, and so on.<eos>']
    prompt = chat_format.prompt(conversation(said).messages[:3])
    assert list(window.ids[: len(prompt)]) != prompt
    assert chat_format.tokenizer.decode(window.ids).startswith(chat_format.tokenizer.decode(prompt))
