"""Asks an OpenAI-compatible server for values of a given shape, and keeps every answer: no call is paid twice."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from training.errors import LanguageModelFailed, RunStopped
from training.runs import read_lines
from training.schema import LanguageModel, Noun

if TYPE_CHECKING:
    from openai import OpenAI

log = logging.getLogger(__name__)
Shape = TypeVar("Shape", bound=BaseModel)

AT_ONCE = 4
RETRIES = 4
TIMEOUT_SECONDS = 180.0
REPAIRS = 1
MOST_ANSWER_TOKENS = 4096


class Usage(Noun):
    """What the calls of a run took; dollars are worked out from the configured prices."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0


@dataclass(frozen=True)
class Question:
    """One call: what is said to the model, and how freely it may answer."""

    instructions: str
    request: str
    seed: int
    temperature: float = 0.9


class Unanswered(Exception):
    """The model answered, but not in the shape that was asked for, even when it was told what was wrong."""


class Asker:
    """One server, one model and one journal of answers.

    The journal is a file of JSON lines, a line an answer, keyed by everything the answer depends on. A run that is
    started again with the same questions reads from it what it has, and asks only for the rest.
    """

    def __init__(self, server: LanguageModel, journal: Path, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._server = server
        self._journal = journal
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._kept = {line["key"]: line for line in read_lines(journal)}
        self._usage = Usage()
        self._form: str | None = "json_schema"
        self._client = _client(server)
        journal.parent.mkdir(parents=True, exist_ok=True)
        _end_cut_line(journal)
        self.model = server.model or self._first_model()

    @property
    def usage(self) -> Usage:
        """What all answers of this run took, those from the journal included."""
        with self._lock:
            return self._usage

    def ask_all(
        self, questions: Sequence[Question], shape: type[Shape], done: Callable[[], None]
    ) -> list[Shape | None]:
        """The answers in the order of the questions, a few at a time; None where no usable answer came.

        Raises LanguageModelFailed or RunStopped; what was answered until then is in the journal.
        """

        def one(question: Question) -> Shape | None:
            if self._should_stop():
                raise RunStopped(step=self.usage.calls)
            try:
                return self.ask(question, shape)
            except Unanswered as error:
                log.info("A question got no usable answer: %s", error)
                return None
            finally:
                done()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = [pool.submit(one, question) for question in questions]
            try:
                return [answer.result() for answer in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def ask(self, question: Question, shape: type[Shape]) -> Shape:
        """One answer; a malformed one is sent back once with what is wrong. Raises Unanswered, LanguageModelFailed."""
        messages: list[dict[str, str]] = [
            {"role": "system", "content": question.instructions},
            {"role": "user", "content": question.request},
        ]
        fault = ""
        for _ in range(1 + REPAIRS):
            text = self._answer(messages, question, shape)
            try:
                return shape.model_validate_json(json_part(text))
            except ValidationError as error:
                fault = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors()[:5])
            messages += [
                {"role": "assistant", "content": text or "(nothing)"},
                {"role": "user", "content": f"That does not fit: {fault}. Answer again with the JSON object alone."},
            ]
        raise Unanswered(fault)

    def _answer(self, messages: list[dict[str, str]], question: Question, shape: type[BaseModel]) -> str:
        asked = [self.model, messages, shape.model_json_schema(), question.seed, question.temperature]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = {"key": key} | self._call(messages, question, shape)
            with self._lock:
                self._keep(kept)
        self._count(kept)
        return str(kept["text"])

    def _call(self, messages: list[dict[str, str]], question: Question, shape: type[BaseModel]) -> dict[str, Any]:
        from openai import APIConnectionError, APIStatusError, BadRequestError, UnprocessableEntityError

        while True:
            form = self._form
            try:
                answer = self._client.chat.completions.create(
                    model=self.model,
                    messages=messages,
                    seed=question.seed,
                    temperature=question.temperature,
                    max_tokens=MOST_ANSWER_TOKENS,
                    **_response_format(form, shape),
                )
            except (BadRequestError, UnprocessableEntityError) as error:
                if form is None:
                    raise self._failed(error.message) from error
                # Not every server knows every form of answer; what comes back is checked here in any case.
                self._form = {"json_schema": "json_object", "json_object": None}[form]
                continue
            except APIConnectionError as error:
                raise self._failed(str(error.__cause__ or error)) from error
            except APIStatusError as error:
                raise self._failed(f"HTTP {error.status_code}: {error.message}"[:300]) from error
            used = answer.usage
            return {
                "text": (answer.choices[0].message.content if answer.choices else None) or "",
                "prompt_tokens": used.prompt_tokens if used else 0,
                "completion_tokens": used.completion_tokens if used else 0,
            }

    def _keep(self, answer: dict[str, Any]) -> None:
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._kept[answer["key"]] = answer

    def _count(self, answer: dict[str, Any]) -> None:
        prompt, completion = int(answer["prompt_tokens"]), int(answer["completion_tokens"])
        dollars = (prompt * self._server.price_in + completion * self._server.price_out) / 1e6
        with self._lock:
            so_far = self._usage
            self._usage = Usage(
                calls=so_far.calls + 1,
                prompt_tokens=so_far.prompt_tokens + prompt,
                completion_tokens=so_far.completion_tokens + completion,
                dollars=so_far.dollars + dollars,
            )

    def _first_model(self) -> str:
        from openai import OpenAIError

        try:
            listed = [model.id for model in self._client.with_options(max_retries=1).models.list()]
        except OpenAIError as error:
            raise self._failed(str(error.__cause__ or error)) from error
        if not listed:
            raise self._failed("it lists no model, so name one with LLM_MODEL")
        return listed[0]

    def _failed(self, reason: str) -> LanguageModelFailed:
        return LanguageModelFailed(base_url=self._server.base_url, reason=reason)


def json_part(text: str) -> str:
    """The JSON object in a model's answer, without reasoning, code fences or words around it."""
    text = re.sub(r"(?s)^.*</think>", "", text)
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _response_format(form: str | None, shape: type[BaseModel]) -> dict[str, Any]:
    if form == "json_schema":
        schema = {"name": shape.__name__, "schema": shape.model_json_schema(), "strict": True}
        return {"response_format": {"type": form, "json_schema": schema}}
    return {"response_format": {"type": form}} if form else {}


def _end_cut_line(journal: Path) -> None:
    """Close a line that a crash cut off, so that the next answer begins on its own."""
    if journal.exists() and not journal.read_bytes().endswith(b"\n"):
        whole = journal.read_bytes().rpartition(b"\n")
        with journal.open("r+b") as file:
            file.truncate(len(whole[0]) + len(whole[1]))


def _client(server: LanguageModel) -> OpenAI:
    from openai import OpenAI

    key = server.api_key.get_secret_value() if server.api_key else "none"
    return OpenAI(base_url=server.base_url, api_key=key, max_retries=RETRIES, timeout=TIMEOUT_SECONDS)
