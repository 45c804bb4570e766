"""What `celery -A tasks.app worker -P threads -c 1 -Q train|chat|prepare` loads: the Celery object and three posts."""

from __future__ import annotations

import logging
import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from tasks.bell import make_celery
from tasks.embedded_redis import redis_url
from tasks.jobs import Queue
from tasks.post import attach
from tasks.preparer import Planner, Publisher
from tasks.settings import TaskSettings, load_settings
from tasks.talker import Talker
from tasks.worker import Supervisor
from training.schema import UnderstudyError


@setup_logging.connect(weak=False)
def log_quietly(**_: Any) -> None:
    """Our own lines from INFO, everybody else's from WARNING, all to standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("tasks").setLevel(logging.INFO)


def assemble() -> Celery:
    """The Celery object of the workers, with a post for each queue; a process serves those that -Q names."""
    settings = load_settings(TaskSettings)
    celery = make_celery(redis_url(settings))
    attach(celery, settings, Queue.TRAIN, Supervisor(settings))
    attach(celery, settings, Queue.CHAT, Talker(settings))
    attach(celery, settings, Queue.PREPARE, Planner(settings), tick=Publisher(settings))
    return celery


try:
    app = assemble()
except UnderstudyError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2) from None
