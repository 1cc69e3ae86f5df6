"""How often and for how long Lambda tries an event before it goes to the failure queue."""

from __future__ import annotations

from pipeline.settings import Deployment

# Lambda tries an event three times within an hour, then sends it to the failure queue.
RETRIES = 2
MAX_EVENT_AGE_S = 3600
DELIVERY_S = 60  # S3 announces an upload within seconds, sometimes a minute


def under_way_s(deployment: Deployment) -> int:
    """Return for how many seconds after an upload its event may still be tried.

    The last attempt may begin just before the event is too old.
    """
    return MAX_EVENT_AGE_S + deployment.splitter.timeout_s + DELIVERY_S
