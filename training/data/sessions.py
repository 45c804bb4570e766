"""Turns of a chat log: who answers whom within one session, for one persona. No file, no consent, no names here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

SESSION_GAP = 30 * 60
MERGE_WINDOW = 7 * 60
MAX_SESSION = 2_000
"""Messages after which a session is cut, so that a channel that never sleeps does not fill the memory."""

NAME_LETTERS = 4
"""Fewer make no name that a person is surely called by, such as the first word of "The Captain"."""

UNANSWERED = "no answer of a persona"
ANSWERS_DROPPED = "answers a dropped message"
ANSWERS_AWAY = "answers a message outside its session"
ANSWERS_NOTHING = "answers nothing"
REFUSAL = "refusal boilerplate"
REFUSED = "answered by a refusal"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who a message is by: webhooks share one author id among characters, so the name is part of the key.

    `owners` are the members whose words a message is; `account` tells a bot with an account from a webhook's character.
    """

    author_id: str
    name: str
    label: str
    owners: frozenset[str] = frozenset()
    character: bool = False
    account: bool = False

    @property
    def authors(self) -> frozenset[str]:
        """By whose ids the words are found again: the members', or else its own."""
        return self.owners or frozenset({self.author_id})


@dataclass(frozen=True, slots=True)
class Post:
    """One message; `at` in seconds. `reason` tells why it is left out, `unheard` that its author must not be used."""

    number: int
    id: str
    at: float
    speaker: Speaker
    text: str
    answers: str | None = None
    reason: str | None = None
    unheard: bool = False
    chat: bool = True
    refusal: bool = False


@dataclass(slots=True)
class Round:
    """What was asked, and what the persona answered."""

    asked: list[Post]
    answered: list[Post]


IsPersona = Callable[[Speaker], bool]


def sessions(posts: Iterable[Post]) -> Iterator[list[Post]]:
    """Posts in sessions, each in the order of time; bots, commands and system messages keep no session open."""
    held: list[Post] = []
    last: float | None = None
    for post in posts:
        # A gap counts backwards too: an export may be in reverse order.
        over = last is not None and post.chat and abs(post.at - last) > SESSION_GAP
        if over or len(held) >= MAX_SESSION:
            yield _in_order(held)
            held = []
        held.append(post)
        if post.chat:
            last = post.at
    if held:
        yield _in_order(held)


def _in_order(posts: list[Post]) -> list[Post]:
    return sorted(posts, key=lambda post: (post.at, len(post.id), post.id))


def rounds(posts: Sequence[Post], is_persona: IsPersona) -> tuple[list[Round], dict[int, str]]:
    """The rounds of one session, and for each post that is in none the reason, by its number."""
    spoken = {post.speaker.name.casefold() for post in posts if is_persona(post.speaker)}
    names = frozenset(word for name in spoken for word in name.split() if len(word) >= NAME_LETTERS)
    listener = _Listener(is_persona, names)
    for post in posts:
        listener.hear(post)
    made = [one for one in listener.rounds if one.answered]
    used = {post.number for one in made for post in (*one.asked, *one.answered)}
    fates = {post.number: listener.fate.get(post.number, UNANSWERED) for post in posts if post.number not in used}
    return made, fates


@dataclass(slots=True)
class _Block:
    """What one speaker said in one go; stale once the persona has spoken without taking it up."""

    posts: list[Post]
    stale: bool = False


@dataclass(slots=True)
class _Listener:
    """Goes through a session as the persona heard it."""

    is_persona: IsPersona
    names: frozenset[str]
    by_id: dict[str, Post] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    pending: list[_Block] = field(default_factory=list)
    fate: dict[int, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    round_of: dict[str, Round] = field(default_factory=dict)
    last_said: Post | None = None
    overheard: bool = False
    called: bool = False

    def hear(self, post: Post) -> None:
        """Take in the next post."""
        # One that is still to come counts as one that is not there.
        target = self.by_id.get(post.answers) if post.answers else None
        self.by_id[post.id] = post
        if post.reason is not None:
            self._lose(post, post.reason, private=post.unheard)
        elif post.answers is not None and target is None:
            # It may be a message that must not be used; what it was, this session cannot tell.
            self._lose(post, ANSWERS_AWAY, private=True)
        elif target is not None and target.id in self.gone:
            self._lose(post, ANSWERS_DROPPED, private=target.id in self.private)
        elif self.is_persona(post.speaker):
            self._answer(post, target)
        else:
            self._ask(post)

    def _lose(self, post: Post, reason: str, *, private: bool) -> None:
        """Leave a post out; what replies to it goes with it."""
        self.fate[post.number] = reason
        self.gone.add(post.id)
        if not private:
            return
        self.private.add(post.id)
        if self.is_persona(post.speaker):
            self._has_spoken(post)
        elif post.chat:
            self.overheard = True
            self.called = self.called or self._calls(post)

    def _ask(self, post: Post) -> None:
        # Who was not called may have been passed over; who was called is likely the one that is answered.
        self.overheard = self.called
        block = self.pending[-1] if self.pending else None
        if block and not block.stale and _one_go(block.posts[-1], post):
            block.posts.append(post)
        else:
            self.pending.append(_Block([post]))

    def _answer(self, post: Post, target: Post | None) -> None:
        if target is not None and not self.is_persona(target.speaker):
            self._answer_one(post, target)
        else:
            self._answer_all(post)
        self._has_spoken(post)

    def _has_spoken(self, post: Post) -> None:
        self.last_said = post
        self.overheard = self.called = False
        for block in self.pending:
            block.stale = True

    def _answer_one(self, post: Post, target: Post) -> None:
        """Answer the block that the reference points into, whenever it was said."""
        done = self.round_of.get(target.id)
        block = next((block for block in self.pending if target in block.posts), None)
        if done is not None:
            self._say(post, done)
        elif block is not None:
            self.pending.remove(block)
            self._begin(post, block.posts)
        else:
            self._lose(post, self.fate.get(target.number, ANSWERS_DROPPED), private=False)

    def _answer_all(self, post: Post) -> None:
        """Answer all that was said since the persona last spoke."""
        fresh = [block for block in self.pending if not block.stale]
        if self.overheard:
            self._lose(post, ANSWERS_DROPPED, private=True)
        elif fresh:
            self.pending = [block for block in self.pending if block.stale]
            self._begin(post, [one for block in fresh for one in block.posts])
        else:
            self._go_on(post)

    def _go_on(self, post: Post) -> None:
        """Nobody spoke in between: the post shares the lot of the one before, if it follows soon."""
        before = self.last_said
        if before is None or not _one_go(before, post):
            # It is not lost for those who answer it: it only has no question of its own.
            self.fate[post.number] = ANSWERS_NOTHING
        elif before.id in self.round_of:
            self._say(post, self.round_of[before.id])
        elif before.id in self.gone:
            self._lose(post, self.fate[before.number], private=before.id in self.private)
        else:
            self.fate[post.number] = ANSWERS_NOTHING

    def _begin(self, post: Post, asked: list[Post]) -> None:
        if post.refusal:
            self._lose(post, REFUSAL, private=False)
            self.fate.update((one.number, REFUSED) for one in asked)
            return
        made = Round(asked, [])
        self.rounds.append(made)
        self.round_of.update((one.id, made) for one in asked)
        self._say(post, made)

    def _say(self, post: Post, where: Round) -> None:
        if post.refusal:
            self._lose(post, REFUSAL, private=False)
            return
        where.answered.append(post)
        self.round_of[post.id] = where

    def _calls(self, post: Post) -> bool:
        """Whether the post calls the persona by a part of its name."""
        said = post.text.casefold()
        return any(name in said for name in self.names)


def _one_go(before: Post, after: Post) -> bool:
    one, other = before.speaker, after.speaker
    same = (one.author_id, one.name) == (other.author_id, other.name)
    return same and after.at - before.at <= MERGE_WINDOW
