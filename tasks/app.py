"""What `celery -A tasks.app worker -P threads -Q train|chat|prepare` loads: the Celery object and three posts."""

from __future__ import annotations

import sys

from celery import Celery

from tasks.bell import make_celery
from tasks.embedded_redis import redis_url
from tasks.jobs import Queue
from tasks.post import attach
from tasks.preparer import Preparer, Publisher
from tasks.settings import TaskSettings, load_settings
from tasks.shelf import Shelf
from tasks.talker import Talker
from tasks.worker import Supervisor, look_at_machine
from training.errors import UnderstudyError


def assemble() -> Celery:
    """The Celery object of the workers, with a post for each queue; a process serves those that -Q names."""
    settings = load_settings(TaskSettings)
    celery = make_celery(redis_url(settings))
    attach(celery, settings, Queue.TRAIN, Supervisor(settings), tick=Shelf(settings), look=look_at_machine)
    attach(celery, settings, Queue.CHAT, Talker(settings))
    publisher = Publisher(settings)
    attach(celery, settings, Queue.PREPARE, Preparer(settings, publisher), tick=publisher)
    return celery


try:
    app = assemble()
except UnderstudyError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2) from None
