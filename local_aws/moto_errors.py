"""moto's failures as errors of AWS: moto answers with HTML what it does not have or cannot do."""

from __future__ import annotations

import logging
from http import HTTPStatus
from wsgiref.types import WSGIEnvironment
from xml.parsers.expat import ExpatError

from flask import Flask, request
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from local_aws.aws_errors import protocol, refuse
from local_aws.operations import rest_operation
from local_aws.sigv4 import SignatureError, raw_target, read

log = logging.getLogger(__name__)


def create_app(service: str | None) -> Flask:
    """moto's application for a service, which fails as AWS does; None is one moto does not have."""
    app: Flask = create_backend_app(service) if service else Flask(__name__, static_folder=None)
    app.register_error_handler(Exception, _answer)
    return app


def _answer(error: Exception) -> Response | HTTPException:
    environ = request.environ
    signature = read(environ)
    service = signature.service if signature else "s3"
    action = f"{service}:{_action(environ, service)}"
    if isinstance(error, NotImplementedError) or error is request.routing_exception:
        text = f"The local AWS does not have {action}. docs/local-aws.md lists what it lacks."
        code, status = "NotImplemented", HTTPStatus.NOT_IMPLEMENTED
    elif isinstance(error, ExpatError):
        text = "The XML you provided was not well-formed or did not validate against our schema"
        code, status = "MalformedXML", HTTPStatus.BAD_REQUEST
    elif isinstance(error, SignatureError):  # the body is another one
        text, code, status = str(error), error.code, error.status
    elif isinstance(error, HTTPException):
        return error  # moto's own answer
    else:
        log.error("%s failed", action, exc_info=error)
        text = f"{action} failed in the local AWS: {error!r}. Its log has the traceback."
        code, status = "InternalFailure", HTTPStatus.INTERNAL_SERVER_ERROR
    return Response.from_app(
        lambda environ, start: refuse(environ, start, service, code, text, status), environ
    )


def _action(environ: WSGIEnvironment, service: str) -> str:
    """The action that a request means, or else its method and path."""
    path, query = raw_target(environ)
    method = environ["REQUEST_METHOD"]
    if protocol(environ, service).startswith("rest"):
        action = rest_operation(service, method, environ["PATH_INFO"], query)
    else:
        target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        action = request.values.get("Action") or target
    return action or f"{method} {path}"
