"""Conversation → token ids and loss mask: the one place where a chat template is applied.

Only what the assistant says, and the token that ends its turn, is learnt. The mask comes from rendering each round with
and without its answer, so it needs no marks in the template; what makes that valid is checked on every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from training.errors import UnderstudyError
from training.schema import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = dict[str, str]


class UnusableTemplate(UnderstudyError):
    """The chat template of {name} cannot be trained on: {reason}. Choose another base model."""


@dataclass(frozen=True)
class Example:
    """One training window: token ids, and for each whether it is learnt."""

    conversation_id: str
    ids: tuple[int, ...]
    mask: tuple[bool, ...]

    @property
    def labels(self) -> int:
        """How many tokens are learnt."""
        return sum(self.mask)


class ChatFormat:
    """A tokenizer's way of writing conversations down."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise UnusableTemplate(name=tokenizer.name_or_path, reason="it has none")
        self.tokenizer = tokenizer
        self.takes_system = self._probe_system()
        self.stable = self._probe_stable()
        self.end_of_turn = self._probe_end_of_turn()

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
        arguments: dict[str, Any] = {"enable_thinking": False, "tokenize": False}
        return self.tokenizer.apply_chat_template(self._turns(messages), **arguments)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids after which the model is to write the assistant's next turn."""
        return self._ids(self._turns(messages), opened=True)

    def fit_prompt(self, messages: Sequence[Message], budget: int) -> list[int]:
        """The prompt in at most `budget` tokens: the system turn and the newest rounds; the oldest are dropped first.

        A single round that is too long loses the beginning of its tokens.
        """
        turns = self._turns(messages, fold=False)
        head, spoken = (turns[:1], turns[1:]) if turns[0]["role"] == "system" else ([], turns)
        while True:
            ids = self._ids(self._folded(head + spoken), opened=True)
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
        are read and not learnt.
        """
        weights = conversation.meta.get("weights", "").split(",")
        turns = [{"role": m.role, "content": m.content} for m in conversation.messages]
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
            asked, answered = self._ids(folded[:i], opened=True), self._ids(folded[: i + 1])
            if answered[: len(asked)] != asked or ids[: len(answered)] != answered:
                raise self._unusable("what opens an answer is not how the answered turn begins")
            stop = self._last_special(answered, len(asked))
            mask[len(asked) : stop + 1] = [True] * (stop + 1 - len(asked))
        return Example(conversation_id, tuple(ids), tuple(mask))

    def _last_special(self, ids: list[int], begin: int) -> int:
        special = set(self.tokenizer.all_special_ids)
        for i in range(len(ids) - 1, begin, -1):
            if ids[i] in special:
                return i
        raise self._unusable("no token ends the assistant's turn, so a model would never stop")

    def _probe_stable(self) -> bool:
        """Whether a round is written the same way whether or not another follows."""
        turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")]
        first = self._ids(turns[:2])
        return self._ids(turns)[: len(first)] == first

    def _probe_end_of_turn(self) -> int:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        ids = self._ids(turns)
        return ids[self._last_special(ids, len(self._ids(turns[:1], opened=True)))]

    def _probe_system(self) -> bool:
        turns = [{"role": "system", "content": "qzxv"}, {"role": "user", "content": "a"}]
        try:
            return "qzxv" in self.tokenizer.apply_chat_template(turns, tokenize=False)
        except jinja2.TemplateError:
            return False

    def _turns(self, messages: Sequence[Message], *, fold: bool = True) -> list[Turn]:
        """What templates accept: at most one system turn, in front; then user and assistant in turn, user first."""
        cards = [m.content for m in messages if m.role == "system"]
        turns: list[Turn] = []
        for message in messages:
            if message.role == "system" or (not turns and message.role == "assistant"):
                continue
            if turns and turns[-1]["role"] == message.role:
                turns[-1]["content"] += "\n" + message.content
            else:
                turns.append({"role": message.role, "content": message.content})
        head = [{"role": "system", "content": "\n".join(cards)}] if cards else []
        return self._folded(head + turns) if fold else head + turns

    def _folded(self, turns: list[Turn]) -> list[Turn]:
        """The turns, with the system turn in front of the first user turn where the template knows no system role."""
        if self.takes_system or turns[0]["role"] != "system":
            return turns
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return [first, *turns[2:]]

    def _ids(self, turns: list[Turn], *, opened: bool = False) -> list[int]:
        # enable_thinking: reasoning models answer at once; other templates ignore the word.
        # sanitize_control_tokens: a member who types "<|im_end|>" must not end a turn.
        arguments: dict[str, Any] = {"enable_thinking": False, "sanitize_control_tokens": True, "return_dict": False}
        ids = self.tokenizer.apply_chat_template(turns, add_generation_prompt=opened, **arguments)
        return [int(i) for i in ids]

    def _unusable(self, reason: str) -> UnusableTemplate:
        return UnusableTemplate(name=self.tokenizer.name_or_path, reason=reason)
