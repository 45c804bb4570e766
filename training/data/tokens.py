"""Counts tokens as a model's own template and tokenizer would write a conversation; fast only where that is proven.

The proof is by comparison: texts of ours in many scripts, words put together from the vocabulary itself, and, while
counting, one row in `EVERY`. The first difference ends the fast way for good, and `note` says so.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from training.chat import THOUGHT, ChatFormat
from training.data.encoding import LONGEST_TEXT, TextCounter, text_counter
from training.data.layout import Layout, find_layout, place_of, words_of_template
from training.schema import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVERY = 500
"""One conversation in so many is counted both ways."""
MADE_WORDS = 4000
SLOW = "Tokens were counted by the model's own tokenizer, one conversation at a time: {reason}."
MARKERS = ("\U000f0000", "\U000f0001")
"""Letters that transformers keeps for itself where a template is applied; it takes them out of what is said."""
PROOF = (
    "Hello, world! It's 12:45; we'll meet at 3 o'clock, WON'T WE? 1234567 ½ Ⅷ",
    "你好，世界！这是一个测试。  今天天气很好。",
    "日本語のテキスト、カタカナ。한국어 문장입니다. ไทย ภาษา क्षत्रिय हिन्दी עברית العربية",
    "Größe, naïve, e\u0301 versus é, Å versus A\u030a, ﬁ, ½, İstanbul",
    "🎭🔥 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ e🙂e 🙂 🙂",
    "def f(x):\n    if x:\n\t\treturn {'a': 1}\n\n\n# end \\n \r\n\r\n  done",
    "  two   spaces    everywhere ; tabs\t\tand \t mixed \t\n \n  \n\n   lines   ",
    "\n\nbegins and ends with lines\n\n",
    " begins and ends with a space ",
    "\u3000wide\u3000 space\u00a0 no-break \u200b zero \u2028 line \x0b \x0c \x1c \x85 next",
    "<| not a token |> <|im_en d|> </s > [INST ] << SYS >> <thinking> ### User: Assistant: hi",
    "a" * 300 + "!" * 100 + " " * 50 + "\n" * 20 + "x",
    "http://example.org/a_b?c=d&e=f#g user@example.org 0x1F 3.14159e-10 C:\\dir",
    "I'LL I'll I’ll 'sam 's 'S 'd'd can't'VE",
    ".",
    "0",
)


class TokenCounter(Protocol):
    """Counts whole conversations for one tokenizer, whose name it bears; `note` says why it is slow, if it is."""

    name: str
    note: str

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of these turns as the model's template writes them."""
        ...


class ExactCounter:
    """Renders and encodes every conversation with the model's own template and tokenizer."""

    def __init__(self, chat: ChatFormat, name: str, reason: str = "") -> None:
        self.name = name
        self.note = SLOW.format(reason=reason) if reason else ""
        self._chat = chat

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of these turns as the model's template writes them."""
        return self._chat.length(messages)


class FastCounter:
    """Counts what is said by a faster encoding, and what the template writes around it only once."""

    def __init__(self, chat: ChatFormat, name: str, layout: Layout, texts: TextCounter) -> None:
        self.name = name
        self.note = ""
        self._chat = chat
        self._layout = layout
        self._texts = texts
        self._added = sorted(chat.tokenizer.get_added_vocab(), key=len, reverse=True)
        self._gaps = {place: self._gap(text) for place, text in layout.gaps.items()}
        self._delicate = _by_first_letters({*self._added, *MARKERS, *THOUGHT, *words_of_template(chat)})
        self._counted = 0

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of these turns as the model's template writes them."""
        tokens = None if self.note else self.by_parts(messages)
        if tokens is None:
            return self._chat.length(messages)
        self._counted += 1
        if self._counted % EVERY == 1:
            return self._compared(messages, tokens)
        return tokens

    def by_parts(self, messages: Sequence[Message]) -> int | None:
        """The fast count; None where something said may mean more than itself to the template or the tokenizer."""
        turns = self._folded(messages)
        tokens, open_text = 0, ""
        for i in range(len(turns) + 1):
            head, closed, tail = self._gaps[place_of(turns, i)]
            open_text += head
            if closed:
                tokens += closed + self._texts.count(open_text)
                open_text = tail
            if i < len(turns):
                said = turns[i].content
                if self._is_delicate(said):
                    return None
                open_text += self._layout.trims[turns[i].role](said)
        return tokens + self._texts.count(open_text)

    def _compared(self, messages: Sequence[Message], tokens: int) -> int:
        exact = self._chat.length(messages)
        if exact != tokens:
            self.note = SLOW.format(reason=f"the fast way differed on a row, after {self._counted - 1} it had counted")
        return exact

    def _is_delicate(self, said: str) -> bool:
        if len(said) > LONGEST_TEXT:
            return True
        return any(start in said and any(word in said for word in words) for start, words in self._delicate.items())

    def _folded(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self._chat.takes_system or messages[0].role != "system":
            return messages
        first = Message(role="user", content=f"{messages[0].content.strip()}\n\n{messages[1].content.strip()}")
        return (first, *messages[2:])

    def _gap(self, text: str) -> tuple[str, int, str]:
        """What stands before a gap's first added token, the tokens up to its last one, and what stands after that.

        Added tokens part the text, so what is said between two gaps is counted by itself.
        """
        begins = [at for at in map(text.find, self._added) if at >= 0]
        if not begins:
            return text, 0, ""
        end = max(text.rfind(token) + len(token) for token in self._added if token in text)
        middle = text[min(begins) : end]
        return text[: min(begins)], len(self._chat.tokenizer.encode(middle, add_special_tokens=False)), text[end:]


def counter_for(given: ChatFormat | PreTrainedTokenizerBase, name: str = "") -> TokenCounter:
    """The fastest counter that agrees with this tokenizer and its template; `name` is what the model is called.

    Raises UnusableTemplate where there is no template.
    """
    chat = given if isinstance(given, ChatFormat) else ChatFormat(given)
    # A folder's name is enough: where it lies on this machine is nobody's business.
    name = (name or chat.tokenizer.name_or_path or "own").rstrip("/")
    name = name.rsplit("/", 1)[-1] if name.startswith("/") else name
    texts, layout = text_counter(chat.tokenizer), find_layout(chat)
    if texts is None or layout is None:
        what = "its pieces are cut in a way" if texts is None else "its template writes turns in a way"
        return ExactCounter(chat, name, f"{what} that is not known here")
    fast = FastCounter(chat, name, layout, texts)
    differs = _first_difference(chat, fast, texts)
    return ExactCounter(chat, name, f"the fast way differs on {differs}") if differs else fast


def windows(conversation: Conversation, counter: TokenCounter, budget: int) -> list[Conversation]:
    """The conversation as windows of whole rounds within the budget, each below the system turn, nothing left out.

    A round that is over the budget by itself stays whole, and `meta` says so under `over_budget`.
    """
    return [window for window, _ in counted_windows(conversation, counter, budget)]


def counted_windows(
    conversation: Conversation, counter: TokenCounter, budget: int | None
) -> list[tuple[Conversation, int]]:
    """The windows, each with its tokens; without a budget the conversation itself."""
    tokens = counter.count(conversation.messages)
    if budget is None or tokens <= budget:
        return [(conversation, tokens)]
    cuts = _cuts(conversation.messages, counter, budget)
    if len(cuts) == 1:
        return [(_over(conversation, tokens, budget), tokens)]
    group = conversation.meta.get("group", conversation.id)
    weights = conversation.meta.get("weights", "").split(",")
    made = []
    for number, (messages, held) in enumerate(cuts, start=1):
        meta = {**conversation.meta, "group": group}
        answers = sum(message.role == "assistant" for message in messages)
        if "weights" in meta:  # one for each answer, in order
            meta["weights"], weights = ",".join(weights[:answers]), weights[answers:]
        window = conversation.model_copy(
            update={"id": f"{conversation.id}#{number}", "messages": messages, "meta": meta}
        )
        made.append((_over(window, held, budget), held))
    return made


def _cuts(messages: tuple[Message, ...], counter: TokenCounter, budget: int) -> list[tuple[tuple[Message, ...], int]]:
    """As few stretches of whole rounds as hold everything, the system turn in front of each."""
    head = messages[:1] if messages[0].role == "system" else ()
    spoken = messages[len(head) :]
    cuts: list[tuple[tuple[Message, ...], int]] = []
    begin = 0
    held = counter.count(head + spoken[:2])
    for end in range(2, len(spoken), 2):
        longer = counter.count(head + spoken[begin : end + 2])
        if longer > budget:
            cuts.append((head + spoken[begin:end], held))
            begin, longer = end, counter.count(head + spoken[end : end + 2])
        held = longer
    return [*cuts, (head + spoken[begin:], held)]


def _over(conversation: Conversation, tokens: int, budget: int) -> Conversation:
    if tokens <= budget:
        return conversation
    return conversation.model_copy(update={"meta": {**conversation.meta, "over_budget": str(tokens)}})


def _by_first_letters(words: set[str]) -> dict[str, list[str]]:
    """The words that hold no other of them, by the two letters they begin with: most texts hold not even those."""
    found: dict[str, list[str]] = {}
    for word in sorted(words, key=lambda word: (len(word), word)):
        if not any(other in word for others in found.values() for other in others):
            found.setdefault(word[:2], []).append(word)
    return found


def _first_difference(chat: ChatFormat, fast: FastCounter, texts: TextCounter) -> str:
    """Where the fast way does not agree with the model's own tokenizer, in a few words; empty where it always does."""
    for text in (*PROOF, *_made_texts(chat)):
        if texts.count(text) != len(chat.tokenizer.encode(text, add_special_tokens=False)):
            return "a text of the check"
    said = [text for text in PROOF if text.strip()]
    for i, text in enumerate(said):
        turns = [
            Message(role="system", content=text),
            Message(role="user", content=said[i - 1]),
            Message(role="assistant", content=text),
        ]
        for rounds in (turns[1:], turns, [*turns, *turns[1:]], [*turns, *turns[1:], *turns[1:]]):
            if fast.by_parts(rounds) not in (None, chat.length(rounds)):
                return "a conversation of the check"
    return ""


def _made_texts(chat: ChatFormat) -> list[str]:
    """Texts of words that nobody ever wrote, put together from the vocabulary, always the same ones."""
    tokenizer = chat.tokenizer
    added = set(tokenizer.get_added_vocab().values())
    chooser = random.Random(1)
    ids = [i for i in chooser.choices(range(len(tokenizer)), k=MADE_WORDS * 3) if i not in added]
    pieces = [text for i in ids if "\ufffd" not in (text := tokenizer.decode([i]))]
    made = "".join(" " + piece if n % 3 == 0 else piece for n, piece in enumerate(pieces))
    return [made[start : start + 2000] for start in range(0, len(made), 2000)]
