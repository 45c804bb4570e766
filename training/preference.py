"""Learning from preferences: DPO, direct preference optimisation.

For a talk with a chosen answer c and a rejected answer r, and a reference π₀ (the model as it was when the run began),
the loss is −log σ(β · [log π(c)/π₀(c) − log π(r)/π₀(r)]), averaged over pairs. Rafailov et al., "Direct preference
optimization", 2023, equation 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.functional import logsigmoid

from training.batches import Family, families, pack
from training.chat import ChatFormat, Example
from training.data.preferences import Preference
from training.decoder.forward import Decoder, Pass
from training.errors import EmptyDataset
from training.models import Loaded
from training.ranks import ALONE, Ranks
from training.schema import Conversation

RATE_SHARE = 0.05
"""Of a base model's learning rate: preferences are learnt far more gently than answers, or it unlearns to talk."""


@dataclass(frozen=True)
class Pair:
    """Two windows that begin with the same prompt; in each only its last answer is learnt."""

    chosen: Example
    rejected: Example

    @property
    def tokens(self) -> int:
        """Tokens of a row that holds both, the prompt once."""
        prompt = self.chosen.mask.index(True)
        return len(self.chosen.ids) + len(self.rejected.ids) - prompt


def pairs_of(preferences: Sequence[Preference], chat_format: ChatFormat, max_length: int, name: str) -> list[Pair]:
    """The preferences as windows of at most `max_length` tokens.

    One whose prompt leaves no room for both answers is left out. Raises EmptyDataset, which calls them by `name`, where
    none is left.
    """
    made = [_pair(preference, chat_format, max_length) for preference in preferences]
    kept = [pair for pair in made if pair]
    if not kept:
        raise EmptyDataset(name=name, count=0, needed=1)
    return kept


def _pair(preference: Preference, chat_format: ChatFormat, max_length: int) -> Pair | None:
    windows = [chat_format.examples(_muted(row), max_length) for row in (preference.chosen, preference.rejected)]
    if not all(windows):
        return None
    chosen, rejected = (window[-1] for window in windows)
    prompt = chosen.mask.index(True)
    # A longer answer may have pushed out an early round that the other one still sees.
    return Pair(chosen, rejected) if chosen.ids[:prompt] == rejected.ids[: rejected.mask.index(True)] else None


def _muted(row: Conversation) -> Conversation:
    """The conversation with all its answers but the last only read."""
    answers = sum(message.role == "assistant" for message in row.messages)
    weights = ",".join(["0"] * (answers - 1) + ["1"])
    return row.model_copy(update={"meta": row.meta | {"weights": weights}})


@dataclass(frozen=True)
class Preferences:
    """The objective of DPO. `reference`: for each pair log π₀(c) − log π₀(r), measured as the model was at first."""

    loaded: Loaded
    decoder: Decoder
    held_out: Sequence[Pair]
    tokens_at_once: int
    beta: float
    reference: dict[str, float] = field(default_factory=dict)
    ranks: Ranks = ALONE

    def refer(self, pairs: Sequence[Pair]) -> None:
        """Take the model as it is now for the reference of these pairs and of those that are held out."""
        self.reference.update(self._measured([*pairs, *self.held_out]))

    def shares(self, rows: Sequence[Pair], how: Pass) -> Iterator[torch.Tensor]:
        """The loss of the whole step, nats per pair, a forward pass at a time."""
        fair = -(-sum(pair.tokens for pair in rows) // self.ranks.count)
        groups = passes(rows, min(self.tokens_at_once, fair))
        for counts, (number, group) in self.ranks.mine(list(enumerate(groups))):
            advantage = self._margins(group, how.numbered(number)) - self._references(group)
            yield -counts * logsigmoid(self.beta * advantage).sum() / len(rows)

    def held_out_loss(self) -> float:
        """Nats per held-out pair."""
        advantages = torch.tensor(list(self._advantages().values()))
        return -logsigmoid(self.beta * advantages).mean().item()

    def preferred(self) -> float:
        """The share of the held-out pairs of which the chosen answer gained more than the rejected one."""
        advantages = self._advantages().values()
        return sum(advantage > 0 for advantage in advantages) / len(advantages)

    def tokens(self, row: Pair) -> int:
        """The length of both answers and their prompt."""
        return row.tokens

    def _advantages(self) -> dict[str, float]:
        measured = self._measured(self.held_out)
        return {name: margin - self.reference[name] for name, margin in measured.items()}

    def _references(self, group: Sequence[Pair]) -> torch.Tensor:
        return torch.tensor([self.reference[_name(pair)] for pair in group], device=self.loaded.device)

    def _measured(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """For each pair log π(c) − log π(r), nothing dropped."""
        found: dict[str, float] = {}
        was_training = self.decoder.model.training
        self.decoder.model.eval()
        with torch.inference_mode(), self.decoder.packed():
            for group in passes(pairs, self.tokens_at_once):
                margins = self._margins(group, Pass()).tolist()
                found |= dict(zip(map(_name, group), margins, strict=True))
        self.decoder.model.train(was_training)
        return found

    def _margins(self, group: Sequence[Pair], how: Pass) -> torch.Tensor:
        """For each pair log π(c) − log π(r), in nats."""
        grouped = both(group)
        batch = pack(grouped, self.loaded.format.pad, self.loaded.device)
        losses = self.decoder.losses(batch, how)
        members = [member for family in grouped for member in family.members]
        summed = torch.zeros(len(members), dtype=losses.dtype, device=losses.device)
        summed = summed.index_add(0, batch.owners[: batch.count], losses)
        place = {id(member): number for number, member in enumerate(members)}
        chosen = [place[id(pair.chosen)] for pair in group]
        rejected = [place[id(pair.rejected)] for pair in group]
        return summed[rejected] - summed[chosen]


def passes(pairs: Sequence[Pair], tokens: int) -> list[list[Pair]]:
    """The pairs in passes of at most so many tokens, a longer one in a pass of its own; no pair is torn apart."""
    made: list[list[Pair]] = []
    room = 0
    for pair in sorted(pairs, key=lambda pair: (-pair.tokens, _name(pair))):
        if pair.tokens > room:
            made.append([])
            room = tokens
        made[-1].append(pair)
        room -= pair.tokens
    return made


def both(group: Sequence[Pair]) -> list[Family]:
    """Both answers of each pair of a pass, grouped by how they begin."""
    return families(example for pair in group for example in (pair.chosen, pair.rejected))


def _name(pair: Pair) -> str:
    return pair.chosen.conversation_id
