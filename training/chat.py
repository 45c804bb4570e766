"""Conversation → token ids and loss mask: the one place where a chat template is applied.

Only what the assistant says, and the token that ends its turn, is learnt. The mask comes from rendering each round with
and without its answer, so it needs no marks in the template; what makes that valid is checked on every row.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from training.errors import UnderstudyError
from training.schema import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = dict[str, str]
DEFAULT_TEMPLATE = (
    "{% if bos_token and bos_token != eos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content + '\n\n' }}"
    "{% elif message.role == 'user' %}{{ 'User: ' + message.content + '\n\n' }}"
    "{% else %}{{ 'Assistant: ' + message.content + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""What stands in for a chat template where a tokenizer has none, as those of base models often do: plain text, in which
the end-of-sequence token ends each answer. A member can type what opens a turn in it, so a chat model is safer."""
DAY = "26 Jul 2024"
"""What Llama's templates are told is today, the day that they name by themselves where they have no clock: what is
learnt must not depend on when, nor differ from what is asked later."""
THOUGHT = ("<think>", "</think>")
"""What stands around the reasoning in front of an answer."""
ROUND: list[Turn] = [{"role": "user", "content": "qzxv"}, {"role": "assistant", "content": "vxzq"}]
"""What templates are tried on: words that none of them holds."""


class UnusableTemplate(UnderstudyError):
    """The chat template of {name} cannot be trained on: {reason}. Choose another base model."""


@dataclass(frozen=True)
class Example:
    """One training window: token ids, and for each whether it is learnt."""

    conversation_id: str
    ids: tuple[int, ...]
    mask: tuple[bool, ...]

    @property
    def tokens(self) -> int:
        """How long it is."""
        return len(self.ids)

    def cut(self, tokens: int) -> Example:
        """Its first tokens."""
        return Example(self.conversation_id, self.ids[:tokens], self.mask[:tokens])

    @property
    def labels(self) -> int:
        """How many tokens are learnt."""
        return sum(self.mask)


class ChatFormat:
    """A tokenizer's way of writing conversations down."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            if tokenizer.eos_token is None:
                raise self._unusable("there is none, and no token that could end an answer")
            tokenizer.chat_template = DEFAULT_TEMPLATE
        self._ending = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._ending.update(tokenizer.all_special_ids)
        self.takes_system = self._probe_system()
        self._excess, self._header = self._probe_opening()
        self.end_of_turn, self._behind = self._probe_end_of_turn()
        self.stable = self._probe_stable()

    @property
    def template(self) -> str:
        """The chat template, in Jinja."""
        return self.tokenizer.get_chat_template()

    @property
    def is_default(self) -> bool:
        """Whether it is Understudy's own, for want of one that came with the tokenizer."""
        return self.template == DEFAULT_TEMPLATE

    def with_template(self, template: str) -> ChatFormat:
        """The same tokenizer with this chat template, this format itself where it is the same."""
        if template == self.template:
            return self
        tokenizer = copy.copy(self.tokenizer)
        tokenizer.chat_template = template
        return ChatFormat(tokenizer)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        eos = self.tokenizer.eos_token_id
        return tuple(sorted({self.end_of_turn, *([] if eos is None else [eos])}))

    @property
    def pad(self) -> int:
        """A token for filling up batches that never ends a turn."""
        stops = set(self.stop_ids)
        known = (self.tokenizer.pad_token_id, self.tokenizer.unk_token_id, self.tokenizer.bos_token_id)
        return next(i for i in (*known, *range(len(stops) + 1)) if i is not None and i not in stops)

    def head(self, card: str) -> list[int]:
        """The ids of a system turn alone; of a template that takes one."""
        return self._ids([{"role": "system", "content": card}])

    def length(self, messages: Sequence[Message]) -> int:
        """Tokens of the whole conversation."""
        return self._length(self._turns(messages, fold=False))

    def text(self, messages: Sequence[Message]) -> str:
        """The whole conversation as the template writes it, before it becomes tokens."""
        return self._rendered(self._turns(messages))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids after which the model is to write the assistant's next turn."""
        return self._asked(self._turns(messages))

    def fit_prompt(self, messages: Sequence[Message], budget: int) -> list[int]:
        """The prompt in at most `budget` tokens: the system turn and the newest rounds; the oldest are dropped first.

        A single round that is too long loses the beginning of its tokens.
        """
        turns = self._turns(messages, fold=False)
        head, spoken = (turns[:1], turns[1:]) if turns[0]["role"] == "system" else ([], turns)
        while True:
            ids = self._asked(self._folded(head + spoken))
            if len(ids) <= budget:
                return ids
            if len(spoken) <= 2:
                return ids[-budget:]
            spoken = spoken[2:]

    def examples(self, conversation: Conversation, max_length: int) -> list[Example]:
        """The conversation as windows of at most `max_length` tokens, each answer learnt in exactly one of them.

        Windows hold whole rounds and begin with the system turn. A template that rewrites earlier rounds once a later
        one follows (it drops their reasoning, say) gets one window an answer. A single round that is too long is cut
        at its end, and left out where none of its answer would remain. Answers whose weight in `meta["weights"]` is 0
        are read and not learnt, and so is the reasoning in front of an answer: it is asked for without.
        """
        weights = conversation.meta.get("weights", "").split(",")
        turns = [_turn(message) for message in conversation.messages]
        head, spoken = (turns[:1], turns[1:]) if turns[0]["role"] == "system" else ([], turns)
        cuts = (
            self._packed(head, spoken, max_length) if self.stable else self._one_answer_each(head, spoken, max_length)
        )
        windows = [
            self._masked(conversation.id, head + spoken[begin:end], weights[begin // 2 : end // 2])
            for begin, end in cuts
        ]
        cut = [Example(w.conversation_id, w.ids[:max_length], w.mask[:max_length]) for w in windows]
        return [w for w in cut if w.labels]

    def show(self, example: Example) -> str:
        """The window as text for a person to check, with what is learnt between ⟦ and ⟧."""
        parts: list[str] = []
        start = 0
        for i in range(1, len(example.ids) + 1):
            if i == len(example.ids) or example.mask[i] != example.mask[start]:
                text = self.tokenizer.decode(example.ids[start:i])
                parts.append(f"⟦{text}⟧" if example.mask[start] else text)
                start = i
        return "".join(parts)

    def _packed(self, head: list[Turn], spoken: list[Turn], max_length: int) -> list[tuple[int, int]]:
        """As few stretches of whole rounds as hold everything."""
        if self._length(head + spoken) <= max_length:
            return [(0, len(spoken))]
        cuts, begin, end = [], 0, 2
        while end < len(spoken):
            if self._length(head + spoken[begin : end + 2]) > max_length:
                cuts.append((begin, end))
                begin = end
            end += 2
        return [*cuts, (begin, len(spoken))]

    def _one_answer_each(self, head: list[Turn], spoken: list[Turn], max_length: int) -> list[tuple[int, int]]:
        """For each answer the stretch that ends with it and begins as early as there is room."""
        cuts = []
        for end in range(2, len(spoken) + 1, 2):
            begin = 0
            while begin < end - 2 and self._length(head + spoken[begin:end]) > max_length:
                begin += 2
            cuts.append((begin, end))
        return cuts

    def _length(self, turns: list[Turn]) -> int:
        return len(self._ids(self._folded(turns)))

    def _masked(self, conversation_id: str, turns: list[Turn], weights: Sequence[str]) -> Example:
        """These turns with their mask; only the last answer is learnt where the template is not stable."""
        folded = self._folded(turns)
        ids = self._ids(folded)
        mask = [False] * len(ids)
        answers = [i for i, turn in enumerate(folded) if turn["role"] == "assistant"]
        muted = {i for i, weight in zip(answers, weights, strict=False) if weight == "0"}
        for i in answers if self.stable else answers[-1:]:
            if i in muted:
                continue
            asked, answered = self._asked(folded[:i]), self._ids(folded[: i + 1])
            begin, stop = _shared(asked, answered), len(answered) - self._behind
            opened = begin == len(asked) or self._continues(asked, answered)
            if not opened or ids[:stop] != answered[:stop] or ids[stop - 1] != self.end_of_turn:
                raise self._unusable("what opens an answer is not how the answered turn begins")
            mask[begin:stop] = [True] * (stop - begin)
        return Example(conversation_id, tuple(ids), tuple(mask))

    def _continues(self, asked: list[int], answered: list[int]) -> bool:
        """Whether the answered turn begins as text like what was asked, though a token may reach from one into the
        other: Mistral's has no space between "[/INST]" and an answer, and "])" is one token. Such a one is learnt."""
        decode = self.tokenizer.decode
        return str(decode(answered)).startswith(str(decode(asked)))

    def _probe_system(self) -> bool:
        turns = [{"role": "system", "content": "qzxv"}, {"role": "user", "content": "a"}]
        try:
            return "qzxv" in self._rendered(turns)
        except UnusableTemplate:
            return False

    def _probe_opening(self) -> tuple[int, list[int]]:
        """(how many tokens open an answer that are not in front of one that was given, what is there in their place).

        Such are the beginning of a thought, and the name of the channel that an answer without one goes to.
        """
        unanswered, asked, answered = self._ids(ROUND[:1]), self._ids(ROUND[:1], opened=True), self._ids(ROUND)
        shared = _shared(asked, answered)
        if shared < len(asked) and self._continues(asked, answered):
            return 0, []
        if shared < len(asked) and shared <= len(unanswered):
            raise self._unusable("what opens an answer is not how the answered turn begins")
        said = self._said(answered, shared)
        begin = max((i + 1 for i in range(shared, said) if answered[i] in self._ending), default=shared)
        if self.tokenizer.decode(answered[begin:said]).strip() != ROUND[1]["content"]:
            raise self._unusable("it has more in front of an answer than it opens one with")
        return len(asked) - shared, answered[shared:begin]

    def _probe_end_of_turn(self) -> tuple[int, int]:
        """(the token that ends an answer, how many tokens follow it)."""
        ids = self._ids(ROUND)
        said = self._said(ids, len(self._asked(ROUND[:1])))
        end = next((i for i in range(said, len(ids)) if ids[i] in self._ending), None)
        if end is None:
            raise self._unusable("no token ends the assistant's turn, so a model would never stop")
        while end + 1 < len(ids) and ids[end + 1] in self._ending:
            end += 1  # an answer that is ended by two tokens
        return ids[end], len(ids) - end - 1

    def _said(self, ids: list[int], begin: int) -> int:
        """Where the answer of a tried round ends."""
        for end in range(begin, len(ids) + 1):
            if ROUND[1]["content"] in self.tokenizer.decode(ids[begin:end]):
                return end
        raise self._unusable("it leaves out what is said")

    def _probe_stable(self) -> bool:
        """Whether a round is written the same way whether or not another follows."""
        head = [{"role": "system", "content": "a"}] if self.takes_system else []
        first = self._ids([*head, *ROUND])
        first = first[: len(first) - self._behind]
        return self._ids([*head, *ROUND, *ROUND])[: len(first)] == first

    def _turns(self, messages: Sequence[Message], *, fold: bool = True) -> list[Turn]:
        """What templates accept: at most one system turn, in front; then user and assistant in turn, user first."""
        cards = [_turn(message)["content"] for message in messages if message.role == "system"]
        turns: list[Turn] = []
        for message in messages:
            turn = _turn(message)
            if message.role == "system" or (not turns and message.role == "assistant"):
                continue
            if turns and turns[-1]["role"] == message.role:
                turns[-1]["content"] += "\n" + turn["content"]
            else:
                turns.append(turn)
        head = [{"role": "system", "content": "\n".join(cards)}] if cards else []
        return self._folded(head + turns) if fold else head + turns

    def _folded(self, turns: list[Turn]) -> list[Turn]:
        """The turns, with the system turn in front of the first user turn where the template knows no system role."""
        if self.takes_system or turns[0]["role"] != "system":
            return turns
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return [first, *turns[2:]]

    def _asked(self, turns: list[Turn]) -> list[int]:
        """The ids after which the model is to write the assistant's next turn."""
        ids = self._ids(turns, opened=True)
        return ids[: len(ids) - self._excess] + self._header

    def _ids(self, turns: list[Turn], *, opened: bool = False) -> list[int]:
        # sanitize_control_tokens: a member who types "<|im_end|>" must not end a turn.
        ids = self._applied(turns, add_generation_prompt=opened, sanitize_control_tokens=True, return_dict=False)
        return [int(i) for i in ids]

    def _rendered(self, turns: list[Turn]) -> str:
        return str(self._applied(turns, tokenize=False))

    def _applied(self, turns: list[Turn], **how: Any) -> Any:
        # enable_thinking: reasoning models answer at once; other templates ignore the word.
        how |= {"enable_thinking": False, "date_string": DAY}
        try:
            return self.tokenizer.apply_chat_template(turns, **how)
        except (jinja2.TemplateError, ValueError) as error:
            raise self._unusable(f"it refuses a plain conversation ({error})") from error

    def _unusable(self, reason: str) -> UnusableTemplate:
        return UnusableTemplate(name=self.tokenizer.name_or_path or "this tokenizer", reason=reason)


def _shared(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _turn(message: Message) -> Turn:
    """A message as templates take it, without space around it, which some of them would join to marks of theirs, and
    without the reasoning in front of an answer."""
    text = message.content.strip()
    if message.role == "assistant":
        begin, end = THOUGHT
        text = text.rpartition(end)[2].replace(begin, "").strip() or text
    return {"role": message.role, "content": text}
