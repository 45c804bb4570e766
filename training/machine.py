"""What this machine trains on: `python -m training.machine` prints it as JSON, and lets go of the card again."""

from __future__ import annotations

from training import models
from training.pace import usual_speed
from training.schema import Machine


def look() -> Machine:
    """This machine, with its speed timed."""
    return models.this_machine().model_copy(update={"operations_per_second": usual_speed(models.device())})


if __name__ == "__main__":
    print(look().model_dump_json())
