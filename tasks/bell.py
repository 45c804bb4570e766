"""The Celery object and its one use: a doorbell that tells a worker to look at its queue.

Only a job's id travels. What a bell lost, the queue still holds, and the bell is rung again.
"""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from tasks.jobs import Queue


def task_name(queue: Queue) -> str:
    """The name of the task that serves a queue."""
    return f"understudy.{queue}"


def make_celery(url: SecretStr) -> Celery:
    """A Celery object over one Redis; it knows no task, so whoever only rings loads none.

    The settings were measured: early acknowledgement and no prefetch, because the lease in Redis decides who works,
    and short restore intervals, because a bell in a dead worker must not stay unheard.
    """
    celery = Celery("understudy", broker=url.get_secret_value())
    celery.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return celery


class Bell:
    """Rings workers by task name; blocks, so an event loop calls it in a thread."""

    def __init__(self, url: SecretStr) -> None:
        self._celery = make_celery(url)

    def ring(self, queue: Queue, job_id: str = "") -> bool:
        """Ring once; False if Redis is away, in which case the bell is rung again later."""
        try:
            self._celery.send_task(task_name(queue), args=[job_id], queue=queue.value, retry=False)
        except OperationalError:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._celery.close()
