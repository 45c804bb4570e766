"""A source of any format becomes a dataset folder, row by row; a killed conversion goes on where it was.

What is finished lies in a folder beside the one to be made, with a record of how far it is to be trusted. The same
command goes on from there: the rows before are read and filtered again, so that counts and duplicates are known as if
nothing had happened, but they are neither counted in tokens nor written again. The result is the same to the byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedWriter
from pathlib import Path
from typing import Any

from training.data.canonical import Tally
from training.data.derive import Origin, digests_in
from training.data.filters import Filter, Sieve
from training.data.folder import (
    CONVERSATIONS,
    Account,
    ExtraFiles,
    Late,
    dataset_name,
    finish_folder,
    now,
    require_free,
    write_rows,
)
from training.data.formats import Reading, read_any
from training.data.schema import DatasetCard, Step
from training.data.tokens import TokenCounter, counted_windows
from training.errors import NothingLeft, UnderstudyError
from training.runs import write_json
from training.schema import Conversation

RECORD_EVERY = 2000
"""Conversations between two records of how far the work is."""
TELL_EVERY = 200
OVER_BUDGET = "{count} conversations of one round are longer than {budget} tokens each; training cuts their ends."
VERSION = 1
"""Of the conversion itself: what an older one left unfinished is begun anew."""


class BeingMade(UnderstudyError):
    """The dataset {name} is being made by another process. Wait until it is done, or choose another name."""


class ConversionStopped(UnderstudyError):
    """The conversion was stopped after {rows} rows. The same command goes on from there."""


@dataclass(frozen=True)
class Recipe:
    """How a source becomes a dataset.

    The filters are functions, which cannot tell what they were made from; `options` tell it in their place, so that a
    killed conversion goes on only if asked in the same words.
    `notice` hears of each conversation that passes; `extra_files` may be asked for once all have.
    """

    reading: Reading = field(default_factory=Reading)
    filters: Sequence[tuple[str, Filter]] = ()
    counter: TokenCounter | None = None
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    persona: str | None = None
    permission: str | None = None
    notes: Sequence[str] = ()
    notice: Callable[[Conversation], None] = lambda conversation: None
    extra_files: Late[ExtraFiles] = field(default_factory=dict)

    @property
    def resumes(self) -> bool:
        """Whether a killed conversion may go on; of chat logs it may not, since consent can have changed."""
        return self.reading.chatlog is None


def convert(
    sources: Path | Sequence[Path],
    out: Path,
    recipe: Recipe | None = None,
    *,
    name: str = "",
    tally: Tally | None = None,
    on_progress: Callable[[int, int], None] = lambda rows, conversations: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DatasetCard:
    """Make the dataset folder `out` of one or more sources; `tally` tells what became of every row.

    `on_progress` hears the rows read and the conversations kept. Raises what reading raises, FolderTaken, BeingMade,
    NothingLeft, and ConversionStopped once `should_stop` says so.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    require_free(out)
    work = _Work(paths, out, recipe or Recipe(), Tally() if tally is None else tally)
    with work.alone():
        try:
            work.go(on_progress, should_stop)
            return work.finish(name or dataset_name(out.name))
        except BaseException as error:
            # What cannot go on is not left lying about, least of all people's words.
            ends = isinstance(error, UnderstudyError) and not isinstance(error, ConversionStopped)
            if ends or not work.recipe.resumes:
                work.discard()
            raise


class _Work:
    """One conversion: the unfinished folder, its record, and everything counted on the way."""

    def __init__(self, paths: Sequence[Path], out: Path, recipe: Recipe, tally: Tally) -> None:
        self.out = out
        self.recipe = recipe
        self.tally = tally
        self.sieve = Sieve(recipe.filters)
        self.account = Account(recipe.counter)
        self.made = out.with_name(f".{out.name}.part")
        self.record = out.with_name(f".{out.name}.part.json")
        self.kept = 0
        self.over_budget = 0
        self.origins = [Origin(path.name, path, self.tally) for path in paths]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the unfinished folder; the operating system lets go of it should this process die."""
        self.made.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.made, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.made.is_dir():  # whoever held it has just given it its name
                raise BeingMade(name=self.out.name)
            yield
        except BlockingIOError as error:
            raise BeingMade(name=self.out.name) from error
        finally:
            os.close(handle)

    def go(self, on_progress: Callable[[int, int], None], should_stop: Callable[[], bool]) -> None:
        """Read, filter, cut, count and write, from where an earlier process left off."""
        key = self._key()
        done = self._take_up(key)
        with (self.made / CONVERSATIONS).open("ab") as file:
            for seen, conversation in enumerate(self._passing()):
                if seen >= done:
                    self._write(conversation, file)
                self.kept = seen + 1
                if self.kept > done and self.kept % RECORD_EVERY == 0:
                    self._note(key, file)
                if self.kept % TELL_EVERY == 0:
                    on_progress(self.tally.rows, self.account.conversations)
                    if should_stop():
                        self._stop(key, file, done)
        on_progress(self.tally.rows, self.account.conversations)

    def finish(self, name: str) -> DatasetCard:
        """Give the folder its card and its place."""
        if not self.account.conversations:
            raise NothingLeft(name=name, **self._where_all_went())
        for file_name, rows in now(self.recipe.extra_files).items():
            write_rows(self.made / file_name, rows)
        card = finish_folder(
            self.made,
            self.out,
            name,
            self.account,
            sources=self.account.by_source(digests_in(self.origins)),
            steps=self._steps(),
            persona=self.recipe.persona,
            notes=self._notes(),
            permission=self.recipe.permission,
        )
        self.record.unlink(missing_ok=True)
        return card

    def discard(self) -> None:
        """Leave nothing behind."""
        self.record.unlink(missing_ok=True)
        shutil.rmtree(self.made, ignore_errors=True)

    def _passing(self) -> Iterator[Conversation]:
        """The conversations that no filter objects to, in the order of the sources."""
        for origin in self.origins:
            for conversation in read_any(origin.path, self.recipe.reading, self.tally):
                if self.sieve.passes(conversation):
                    origin.notice(conversation)
                    self.recipe.notice(conversation)
                    yield conversation

    def _write(self, conversation: Conversation, file: BufferedWriter) -> None:
        if self.recipe.counter is None:
            file.write(self.account.add(conversation))
            return
        for window, tokens in counted_windows(conversation, self.recipe.counter, self.recipe.max_tokens):
            file.write(self.account.add(window, tokens))
            self.over_budget += "over_budget" in window.meta

    # --- what is kept for the next process -------------------------------------------------------------------------

    def _key(self) -> str:
        """A digest of what is asked for and of the sources as they lie there."""
        recipe = self.recipe
        asked = {
            "version": VERSION,
            "sources": [origin.digest for origin in self.origins],
            "names": [origin.name for origin in self.origins],
            "reading": repr(replace(recipe.reading, chatlog=None)),
            "filters": [name for name, _ in recipe.filters],
            "counter": recipe.counter.name if recipe.counter else None,
            "max_tokens": recipe.max_tokens,
            "options": recipe.options,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()

    def _take_up(self, key: str) -> int:
        """How many conversations an earlier process finished; what it did not finish, or another did, is cleared."""
        told = self._told(key)
        if told is None:
            self._clear()
            return 0
        with (self.made / CONVERSATIONS).open("r+b") as file:
            file.truncate(told["bytes"])
        self.account.counter = None
        with (self.made / CONVERSATIONS).open("rb") as file:
            for line in file:
                conversation = Conversation.model_validate_json(line)
                self.account.add(conversation)
                self.over_budget += "over_budget" in conversation.meta
        self.account.counter = self.recipe.counter
        self.account.tokens, self.account.longest = told["tokens"], told["longest"]
        self.account.buckets = Counter({int(floor): count for floor, count in told["buckets"].items()})
        if self.recipe.counter is not None and told["note"]:
            self.recipe.counter.note = told["note"]
        return int(told["conversations"])

    def _told(self, key: str) -> dict[str, Any] | None:
        """The record, if it is of this work and the lines that it tells of are there."""
        try:
            told = json.loads(self.record.read_bytes())
            there = (self.made / CONVERSATIONS).stat().st_size
        except (OSError, ValueError):
            return None
        if not self.recipe.resumes or told.get("key") != key or there < told["bytes"]:
            return None
        return dict(told)

    def _note(self, key: str, file: BufferedWriter) -> None:
        file.flush()
        os.fsync(file.fileno())
        counter = self.recipe.counter
        told = {
            "key": key,
            "conversations": self.kept,
            "bytes": file.tell(),
            "tokens": self.account.tokens,
            "longest": self.account.longest,
            "buckets": {str(floor): count for floor, count in self.account.buckets.items()},
            "note": counter.note if counter else "",
        }
        write_json(self.record, told)

    def _stop(self, key: str, file: BufferedWriter, done: int) -> None:
        if self.kept > done:
            self._note(key, file)
        raise ConversionStopped(rows=self.tally.rows)

    def _clear(self) -> None:
        self.record.unlink(missing_ok=True)
        for left in self.made.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    # --- what the card tells ---------------------------------------------------------------------------------------

    def _steps(self) -> tuple[Step, ...]:
        cards = [origin.card for origin in self.origins if origin.card]
        before = [step for card in cards for step in card.steps]
        cut = Step(name="windows", before=self.kept, after=self.account.conversations)
        return (*before, self.tally.step(), *self.sieve.steps(), *([cut] if self.recipe.max_tokens else []))

    def _notes(self) -> list[str]:
        cards = [origin.card for origin in self.origins if origin.card]
        notes = [*(note for card in cards for note in card.notes), *self.tally.notes(), *self.recipe.notes]
        if self.over_budget:
            notes.append(OVER_BUDGET.format(count=self.over_budget, budget=self.recipe.max_tokens))
        if self.recipe.counter is not None and self.recipe.counter.note:
            notes.append(self.recipe.counter.note)
        return notes

    def _where_all_went(self) -> dict[str, str]:
        steps = self._steps()
        step = next((step for step in steps if not step.after), steps[-1])
        return {"step": step.name, "dropped": ", ".join(f"{count} × {why}" for why, count in step.removed.items())}
