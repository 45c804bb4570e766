"""The workers of the tests: `celery -A tests.queue_app worker …` is tasks.app with fakes for torch and short clocks."""

from __future__ import annotations

import sys

from tasks.bell import make_celery
from tasks.embedded_redis import redis_url
from tasks.jobs import Queue
from tasks.post import attach
from tasks.preparer import Planner, Publisher
from tasks.settings import TaskSettings, load_settings
from tasks.talker import Talker
from tasks.timings import Timings
from tasks.worker import Supervisor
from tests import fakes

TIMINGS = Timings(lease=3.0, heartbeat=0.1, tend=0.3, progress=0.05)
TRAINER = (sys.executable, "-m", "tests.fakes")

settings = load_settings(TaskSettings)
app = make_celery(redis_url(settings))
attach(app, settings, Queue.TRAIN, Supervisor(settings, TIMINGS, TRAINER), timings=TIMINGS)
attach(app, settings, Queue.CHAT, Talker(settings, fakes.FakeEngine), timings=TIMINGS)
attach(
    app,
    settings,
    Queue.PREPARE,
    Planner(settings, fakes.plan),
    timings=TIMINGS,
    tick=Publisher(settings, lambda workspace: (workspace.base_model, True)),
)
