"""Assembles the parts and serves them on loopback."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from wsgiref.types import WSGIApplication

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from local_aws import code_links, ecr_registry, inactive, moto_errors, moto_gaps, open_files
from local_aws.async_queue import AsyncQueue
from local_aws.code_links import CodeLinks
from local_aws.code_store import CodeStore
from local_aws.control_plane import ControlPlane
from local_aws.ecr_registry import Registry
from local_aws.executor import Executor
from local_aws.frontdoor import FrontDoor
from local_aws.http_server import HttpServer
from local_aws.iam_guard import Guard
from local_aws.moto_cloudwatch import put_lambda_metrics
from local_aws.moto_ecr import Images
from local_aws.moto_events import PendingEvents
from local_aws.moto_iam import Principals, assume_role
from local_aws.moto_logs import put_log_lines
from local_aws.moto_sqs import send_message
from local_aws.queue_poller import QueuePollers
from local_aws.server_settings import ACCOUNT_ID, HEALTH, Settings
from local_aws.telemetry import QueueDestination, TelemetrySink

ROLE_SESSION_S = 12 * 3600
REAP_EVERY_S = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invoker:
    """The parts that run functions."""

    telemetry: TelemetrySink
    executor: Executor
    queue: AsyncQueue

    def close(self) -> None:
        """Take no more events, stop the functions, then send their last telemetry."""
        self.queue.close()
        self.executor.close()
        self.telemetry.close()


class Server:
    """A local AWS. It serves from entering the context to leaving it."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        """Prepare to serve on the `listening` socket, and close it in the end."""
        self.settings = replace(settings, cap=min(settings.cap, open_files.most_environments()))
        if self.settings.cap < settings.cap:
            log.warning(
                "--max-concurrency is %d instead of %d, because only %d files may be open. "
                "To raise that limit: ulimit -n",
                self.settings.cap,
                settings.cap,
                open_files.limit(),
            )
        self._socket = listening
        host, port = listening.getsockname()
        self.endpoint = f"http://{host}:{port}"
        # Looks like an IAM user's key. Only whoever starts the server knows it.
        self.access_key = "AKIA" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self._links = CodeLinks(self.endpoint)
        self._pending = PendingEvents()
        self._pollers = QueuePollers()
        self._registry_password = secrets.token_urlsafe(30)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Server:
        """Assemble the parts and serve them from a thread."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._socket.close)
            images = Images(ACCOUNT_ID, self.settings.region)
            registry = Registry(self.settings.data / "registry", images, self._registry_password)
            store = CodeStore(self.settings.data / "code", self.settings.images, registry.find)
            self._repair_moto(store)
            invoker = self._invoker()
            plane = ControlPlane(ACCOUNT_ID, store, self.settings.account_concurrency)
            app = self._application(plane, invoker, registry)
            http = HttpServer(app, self._socket, open_files.most_connections())
            stack.enter_context(http.serving())
            stack.callback(invoker.close)  # before the HTTP server, which takes their telemetry
            stack.enter_context(_reaping(invoker.executor))
            self._pollers.start(
                invoker.executor,
                lambda name, region: plane.spec_to_run(name, None, region),
                self.settings.cap,
            )
            stack.callback(self._pollers.close)
            self._stack = stack.pop_all()
        log.info("serving at %s", self.endpoint)
        return self

    def _repair_moto(self, store: CodeStore) -> None:
        for repair in moto_gaps.repairs(
            endpoint=self.endpoint,
            region=self.settings.region,
            account_concurrency=self.settings.account_concurrency,
            registry_password=self._registry_password,
            objects=self.settings.data / "objects",
            links=self._links,
            pending=self._pending,
            on_mapping=self._pollers.add,
            describe_image=store.describe,
        ):
            repair()

    def _invoker(self) -> Invoker:
        settings = self.settings
        credentials = partial(assume_role, session_name="local-aws", duration_s=ROLE_SESSION_S)
        telemetry = TelemetrySink(
            partial(put_log_lines, ACCOUNT_ID, settings.region),
            partial(put_lambda_metrics, ACCOUNT_ID, settings.region),
        )
        environments = settings.data / "environments"
        executor = Executor(
            environments,
            self.endpoint,
            credentials,
            telemetry,
            settings.cap,
            has_cpu_share=settings.cpu_share,
            init_limit_s=settings.init_limit_s,
        )
        destination = QueueDestination(send_message)
        # One more than can run, so that there is always one that can be throttled.
        queue = AsyncQueue(
            executor,
            destination,
            settings.cap + 1,
            settings.async_retry_delays,
            settings.throttle_delays,
        )
        return Invoker(telemetry, executor, queue)

    def _application(
        self, plane: ControlPlane, invoker: Invoker, registry: Registry
    ) -> WSGIApplication:
        moto = DomainDispatcherApplication(moto_errors.create_app)
        door = FrontDoor(moto, plane, self._pending, invoker.executor, invoker.queue)
        principals = Principals(ACCOUNT_ID, self.access_key, self.secret_key)
        # Requests without AWS's signature, which therefore bypass the guard.
        unsigned: dict[str, WSGIApplication] = {
            code_links.PATH: self._links,
            ecr_registry.PATH: registry,
            inactive.PATH: inactive.LetGo(plane, self.endpoint.partition("//")[2]),
            HEALTH: Response("ok, cpu share" if self.settings.cpu_share else "ok"),
        }
        return DispatcherMiddleware(Guard(door, principals.find, ACCOUNT_ID), unsigned)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the functions, then the server."""
        self._stack.close()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point any AWS client to this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.settings.region,
            "AWS_REGION": self.settings.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def _reaping(executor: Executor) -> Iterator[None]:
    """Stop idle environments from time to time."""
    stop = threading.Event()

    def reap() -> None:
        while not stop.wait(REAP_EVERY_S):
            executor.reap_idle()

    threading.Thread(target=reap, daemon=True).start()
    try:
        yield
    finally:
        stop.set()
