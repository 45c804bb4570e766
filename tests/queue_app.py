"""The workers of the tests: `celery -A tests.queue_app worker …` is tasks.app with fakes for torch and short clocks."""

from __future__ import annotations

import sys
from functools import partial

from tasks.bell import make_celery
from tasks.embedded_redis import redis_url
from tasks.jobs import Queue
from tasks.post import attach
from tasks.preparer import BaseModels, Preparer, Publisher
from tasks.settings import TaskSettings, load_settings
from tasks.shelf import Shelf
from tasks.talker import Talker
from tasks.timings import Timings
from tasks.worker import Supervisor, look_at_machine
from tests import fakes

TIMINGS = Timings(lease=2.0, heartbeat=0.1, tend=0.3, sweep=0.3, progress=0.05, told=0.1)
TRAINER = (sys.executable, "-m", "tests.fakes")
MACHINE = (*TRAINER, "machine")

settings = load_settings(TaskSettings)
app = make_celery(redis_url(settings))
attach(
    app,
    settings,
    Queue.TRAIN,
    Supervisor(settings, TIMINGS, TRAINER),
    timings=TIMINGS,
    tick=Shelf(settings, TIMINGS),
    look=partial(look_at_machine, MACHINE),
)
attach(app, settings, Queue.CHAT, Talker(settings, fakes.FakeEngine), timings=TIMINGS)
publisher = Publisher(settings, lambda workspace, machine: BaseModels(workspace.base_model, True))
attach(
    app,
    settings,
    Queue.PREPARE,
    Preparer(settings, publisher, fakes.plan, fakes.prepare),
    timings=TIMINGS,
    tick=publisher,
)
