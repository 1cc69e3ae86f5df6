"""Functions really run, and finish or fail as on AWS."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import psutil
import pytest
from botocore.exceptions import ClientError
from werkzeug.test import Client

from local_aws.code_links import PATH, CodeLinks
from tests.local_aws.conftest import ANYTHING, Cloud, fetch, zipped

ECHO = "def handler(event, context):\n    print('hello')\n    return {'got': event}\n"
FAILS = "def handler(event, context):\n    raise ValueError('no ' + event.get('what', ''))\n"


def test_an_invocation_returns_the_response_and_the_log(cloud: Cloud) -> None:
    payload, error, log = cloud.invoke(cloud.function(ECHO), {"a": "ü"})

    assert (payload, error) == ({"got": {"a": "ü"}}, None)
    assert "START RequestId" in log
    assert "\nhello\n" in log
    assert "Init Duration" in log


def test_the_second_invocation_reuses_the_environment(cloud: Cloud) -> None:
    code = "import uuid\nME = str(uuid.uuid4())\ndef handler(event, context):\n    return ME\n"
    name = cloud.function(code)

    first, second = cloud.invoke(name), cloud.invoke(name)

    assert first[0] == second[0]
    assert "Init Duration" not in second[2]


def test_new_code_and_new_settings_replace_warm_environments(cloud: Cloud) -> None:
    name = cloud.function("import os\ndef handler(e, c):\n    return [1, os.environ.get('X')]\n")
    client = cloud.client("lambda")
    assert cloud.invoke(name)[0] == [1, None]

    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"X": "y"}})
    assert cloud.invoke(name)[0] == [1, "y"]

    code = zipped({"handler.py": "def handler(e, c):\n    return 2\n"})
    client.update_function_code(FunctionName=name, ZipFile=code)
    assert cloud.invoke(name)[0] == 2


def test_an_exception_is_an_unhandled_error_with_its_type(cloud: Cloud) -> None:
    payload, error, _ = cloud.invoke(cloud.function(FAILS), {"what": "luck"})

    assert error == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no luck")
    assert payload["stackTrace"]


def test_a_failing_import_is_reported(cloud: Cloud) -> None:
    name = cloud.function("import nothing_like_this\n")

    answer = cloud.client("lambda").invoke(FunctionName=name)

    assert answer["FunctionError"] == "Unhandled"
    assert "nothing_like_this" in json.load(answer["Payload"])["errorMessage"]


def test_a_timeout_ends_the_process_and_its_children(cloud: Cloud) -> None:
    code = (
        "import subprocess, time\ndef handler(event, context):\n"
        "    subprocess.Popen(['sleep', '31415'], start_new_session=True)\n"
        "    time.sleep(60 if event else 0)\n"
    )
    name = cloud.function(code, Timeout=1)
    cloud.invoke(name)
    assert sleeps() == 1

    payload, error, log = cloud.invoke(name, {"wait": True})

    assert (error, payload["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 1.00 seconds" in log
    assert sleeps() == 0


def sleeps() -> int:
    """How many of the programs that the test's function started are running."""
    return sum(p.info["cmdline"] == ["sleep", "31415"] for p in psutil.process_iter(["cmdline"]))


def test_a_crash_is_reported_and_the_next_invocation_starts_a_new_environment(cloud: Cloud) -> None:
    code = "import os\ndef handler(event, context):\n    return os._exit(3) if event else 'ok'\n"
    name = cloud.function(code)

    payload, error, _ = cloud.invoke(name, {"die": True})

    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert "exit status 3" in payload["errorMessage"]
    assert cloud.invoke(name)[0] == "ok"


def test_memory_over_the_limit_ends_the_function(cloud: Cloud) -> None:
    code = "import time\ndef handler(e, c):\n    x = bytearray(400_000_000)\n    time.sleep(5)\n"

    payload, error, _ = cloud.invoke(cloud.function(code, MemorySize=128))

    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")


@pytest.mark.parametrize("ending", ["return 'done'", "os._exit(3)"])
def test_all_output_comes_before_the_end_line_in_the_log(cloud: Cloud, ending: str) -> None:
    code = (
        "import os\ndef handler(event, context):\n"
        "    lines = b''.join(b'%d\\n' % number for number in range(40000))\n"
        "    while lines: lines = lines[os.write(1, lines):]\n"
        f"    os.write(1, b'not a whole line')\n    {ending}\n"
    )

    _, _, log = cloud.invoke(cloud.function(code))

    *_, last, part, end, report = log.splitlines()
    assert [last, part] == ["39999", "not a whole line"]
    assert end.startswith("END ")
    assert report.startswith("REPORT ")


def test_a_function_sees_lambdas_variables_and_none_of_the_servers(cloud: Cloud) -> None:
    code = (
        "import os, sys\ndef handler(event, context):\n"
        "    return {'environ': dict(os.environ), 'path': sys.path, 'cwd': os.getcwd(),"
        " 'left': context.get_remaining_time_in_millis(), 'arn': context.invoked_function_arn}\n"
    )
    name = cloud.function(code, Environment={"Variables": {"MINE": "1"}})

    seen = cloud.invoke(name)[0]

    environ = seen["environ"]
    assert environ["MINE"] == "1"
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert environ["AWS_SESSION_TOKEN"]
    assert environ["AWS_ACCESS_KEY_ID"] != cloud.aws.environ["AWS_ACCESS_KEY_ID"]
    assert "PYTEST_CURRENT_TEST" not in environ
    assert 5_000 < seen["left"] <= 10_000
    assert seen["arn"] == cloud.arn(name)
    # THEN it runs from the deployed zip, not from this checkout
    assert seen["cwd"] == environ["LAMBDA_TASK_ROOT"]
    assert not [p for p in seen["path"] if p.rstrip("/").endswith(("/main", "local_aws"))]


def test_layers_provide_programs_and_packages(cloud: Cloud) -> None:
    layer = cloud.client("lambda").publish_layer_version(
        LayerName=cloud.name("layer"),
        Content={
            "ZipFile": zipped(
                {"bin/tool": "#!/bin/sh\necho from the layer\n", "python/extra.py": "N = 42\n"},
                {"bin/tool": 0o755},
            )
        },
    )["LayerVersionArn"]
    code = (
        "import extra, subprocess\ndef handler(event, context):\n"
        "    return [extra.N, subprocess.check_output(['tool'], text=True)]\n"
    )

    payload, _, _ = cloud.invoke(cloud.function(code, Layers=[layer]))

    assert payload == [42, "from the layer\n"]


def test_the_link_to_deployed_code_needs_no_credentials(cloud: Cloud) -> None:
    client, layer_zip = cloud.client("lambda"), zipped({"bin/tool": "#!/bin/sh\n"})
    layer = cloud.name("layer")
    client.publish_layer_version(LayerName=layer, Content={"ZipFile": layer_zip})
    version = client.get_layer_version(LayerName=layer, VersionNumber=1)["Content"]
    function = client.get_function(FunctionName=cloud.function(ECHO))

    # WHEN a client without credentials follows the links
    found, code = (fetch(link)[1] for link in (version["Location"], function["Code"]["Location"]))

    assert found == layer_zip
    digest = base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert digest == function["Configuration"]["CodeSha256"]
    assert fetch(version["Location"][:-1])[0] == 404


def test_a_link_to_code_lasts_ten_minutes() -> None:
    now = [1000.0]
    links = CodeLinks("http://here", clock=lambda: now[0])
    path = links.link(b"zip").removeprefix(f"http://here{PATH}")
    client = Client(links)
    assert client.get(path).data == b"zip"

    now[0] += 601

    assert client.get(path).status_code == 404


def test_an_image_runs_from_its_folder_and_the_log_says_so(cloud: Cloud) -> None:
    uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/an-image@sha256:" + "0" * 64
    name = cloud.name("function")
    cloud.client("lambda").create_function(
        FunctionName=name, PackageType="Image", Code={"ImageUri": uri}, Role=cloud.role(ANYTHING)
    )

    payload, _, _ = cloud.invoke(name)

    assert payload == "from the folder"
    assert "with this Python, not as an image" in cloud.aws.log_path.read_text()


def test_a_published_version_keeps_its_image(cloud: Cloud) -> None:
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    first, second = (f"{registry}/an-image@sha256:" + digit * 64 for digit in "12")
    name, client = cloud.name("function"), cloud.client("lambda")
    client.create_function(
        FunctionName=name, PackageType="Image", Code={"ImageUri": first}, Role=cloud.role(ANYTHING)
    )
    version = client.publish_version(FunctionName=name)["Version"]

    client.update_function_code(FunctionName=name, ImageUri=second)

    for qualifier, uri in ((version, first), ("$LATEST", second)):
        code = client.get_function(FunctionName=name, Qualifier=qualifier)["Code"]
        assert code["ImageUri"] == uri


def test_reserved_concurrency_throttles_but_the_cap_waits(cloud: Cloud) -> None:
    code = (
        "import time\ndef handler(event, context):\n"
        "    time.sleep(event.get('seconds', 0.2))\n    return 'done'\n"
    )
    name, client = cloud.function(code), cloud.client("lambda")

    # WHEN there are more invocations than the cap of two, all succeed
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: cloud.invoke(name)[0], range(4)))
    assert answers == ["done"] * 4

    # WHEN there are more than the reserved concurrency, the others are refused
    def long() -> object:
        while True:
            try:
                return cloud.invoke(name, {"seconds": 4})[0]
            except ClientError:  # throttled by the other call
                continue

    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(long)
        refusals: list[ClientError] = []
        while not refusals and not one.done():  # this call may be the first to start
            try:
                cloud.invoke(name)
            except ClientError as error:
                refusals.append(error)
        assert one.result() == "done"
    assert refusals[0].response["Error"]["Code"] == "TooManyRequestsException"
    assert refusals[0].response["ResponseMetadata"]["HTTPStatusCode"] == 429
    reason = cast("Any", refusals[0].response)["Reason"]
    assert reason == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_qualifiers_and_arns_find_the_function(cloud: Cloud) -> None:
    name, client = cloud.function(ECHO), cloud.client("lambda")
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)

    for asked in (
        name,
        cloud.arn(name),
        f"{cloud.arn(name)}:live",
        f"123456789012:function:{name}",
    ):
        assert cloud.invoke(asked, 1)[0] == {"got": 1}
        assert client.get_function(FunctionName=asked)["Configuration"]["FunctionName"] == name
    assert cloud.invoke(name, 1, Qualifier="live")[0] == {"got": 1}
    with pytest.raises(ClientError, match=r"InvalidParameterValueException.*InvocationType"):
        client.invoke(FunctionName=name, InvocationType="Later")
    with pytest.raises(ClientError, match=r"ResourceNotFoundException.*Function not found"):
        cloud.invoke("nobody")
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204


def test_a_function_sees_the_arn_that_it_was_invoked_by(cloud: Cloud) -> None:
    name = cloud.function("def handler(event, context):\n    return context.invoked_function_arn\n")
    client, arn = cloud.client("lambda"), cloud.arn(name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="$LATEST")

    seen = [cloud.invoke(name)[0], cloud.invoke(f"{arn}:live")[0]]
    seen += [cloud.invoke(name, Qualifier=qualifier)[0] for qualifier in ("live", "$LATEST")]

    assert seen == [arn, f"{arn}:live", f"{arn}:live", f"{arn}:$LATEST"]


def test_requests_and_responses_that_are_too_large_are_refused(cloud: Cloud) -> None:
    name = cloud.function("def handler(event, context):\n    return 'x' * 7_000_000\n")

    with pytest.raises(ClientError, match="at most 6291456"):
        cloud.invoke(name, "x" * 6_291_456)
    payload, error, _ = cloud.invoke(name)
    assert (error, payload["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")


def test_a_function_invokes_another_with_its_role(cloud: Cloud) -> None:
    callee = cloud.function(ECHO)
    code = (
        "import boto3, json\nclient = boto3.client('lambda')\n"
        "def handler(event, context):\n"
        "    answer = client.invoke(FunctionName=event['callee'], Payload=json.dumps(7))\n"
        "    return json.load(answer['Payload'])\n"
    )
    allowed = {
        "Effect": "Allow",
        "Action": "lambda:InvokeFunction",
        "Resource": cloud.arn(callee),
    }
    role = cloud.role([allowed])
    caller = cloud.function(code, Role=role)
    assert cloud.invoke(caller, {"callee": callee})[0] == {"got": 7}

    # WHEN the role loses the permission, the next call fails; once it is back, calls succeed
    cloud.permit(role, [{**allowed, "Resource": cloud.arn("another")}])
    payload, error, _ = cloud.invoke(caller, {"callee": callee})
    assert error == "Unhandled"
    assert "AccessDeniedException" in payload["errorMessage"]
    assert (
        f"not authorized to perform: lambda:InvokeFunction on resource: {cloud.arn(callee)}"
        in (payload["errorMessage"])
    )
    cloud.permit(role, [allowed])
    assert cloud.invoke(caller, {"callee": callee})[0] == {"got": 7}


def test_eight_concurrent_nested_invocations_do_not_starve_each_other(cloud: Cloud) -> None:
    callee = cloud.function(ECHO)
    code = (
        "import boto3, json\nclient = boto3.client('lambda')\n"
        "def handler(event, context):\n"
        f"    answer = client.invoke(FunctionName='{callee}', Payload=json.dumps(event))\n"
        "    return json.load(answer['Payload'])\n"
    )
    caller = cloud.function(code)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: cloud.invoke(caller, {"n": n})[0], range(8)))

    assert answers == [{"got": {"n": n}} for n in range(8)]


def test_metrics_count_invocations_and_errors(cloud: Cloud) -> None:
    name = cloud.function(FAILS)
    cloud.invoke(name)
    cloud.invoke(name)
    now = datetime.now(timezone.utc)

    def total(metric: str) -> float:
        points = cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=5),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    deadline = time.monotonic() + 10
    while total("Invocations") < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {m: total(m) for m in ("Invocations", "Errors", "Throttles")} == {
        "Invocations": 2,
        "Errors": 2,
        "Throttles": 0,
    }
    assert total("Duration") > 0
    assert total("ConcurrentExecutions") == 2


def test_a_deleted_role_does_not_affect_the_logs_of_other_functions(cloud: Cloud) -> None:
    role, bucket = cloud.role(ANYTHING), cloud.name("bucket")
    s3, iam = cloud.client("s3"), cloud.client("iam")
    s3.create_bucket(Bucket=bucket)
    gone = cloud.function(
        "import boto3, time\n"
        "def handler(event, context):\n"
        f"    boto3.client('s3').put_object(Bucket='{bucket}', Key='started')\n"
        "    time.sleep(2)\n",
        Role=role,
    )
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(cloud.invoke, gone)
        s3.get_waiter("object_exists").wait(
            Bucket=bucket, Key="started", WaiterConfig={"Delay": 0.2}
        )
        iam.delete_role_policy(RoleName=role.split("/")[-1], PolicyName="p")
        iam.delete_role(RoleName=role.split("/")[-1])
        assert call.result()[1] is None
    other = cloud.function("def handler(event, context):\n    print('written')\n")

    cloud.invoke(other)

    assert "written" in cloud.log_lines(other)
    assert f"{gone} cannot write its log: There is no role" in cloud.aws.log_path.read_text()


def test_a_role_without_log_permissions_writes_no_log(cloud: Cloud) -> None:
    silent = cloud.function(ECHO, Role=cloud.role([]))
    loud = cloud.function(ECHO)
    for name in (silent, loud):
        cloud.invoke(name)

    assert "hello" in cloud.log_lines(loud)
    assert cloud.log_lines(silent, seconds=0) == []
    assert f"{silent} cannot write its log" in cloud.aws.log_path.read_text()


def test_a_missing_log_group_is_made_if_the_role_may(cloud: Cloud) -> None:
    iam, logs = cloud.client("iam"), cloud.client("logs")
    basic, may_write = cloud.role([]), {"Effect": "Allow", "Resource": "*"}
    iam.attach_role_policy(
        RoleName=basic.split("/")[-1],
        PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
    )
    narrow = cloud.role([{**may_write, "Action": ["logs:CreateLogStream", "logs:PutLogEvents"]}])
    made, refused = (cloud.function(ECHO, Role=role) for role in (basic, narrow))

    def groups(name: str) -> list[Any]:
        found = logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")
        return list(found["logGroups"])

    for name in (refused, made):
        logs.delete_log_group(logGroupName=f"/aws/lambda/{name}")
        cloud.invoke(name)

    deadline = time.monotonic() + 10
    while not groups(made):  # telemetry comes after the response
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "hello" in cloud.log_lines(made)
    assert groups(refused) == []


def test_aliased_versions_stay_and_version_numbers_are_never_reused(cloud: Cloud) -> None:
    name, client = cloud.function(ECHO), cloud.client("lambda")
    assert client.publish_version(FunctionName=name)["Version"] == "1"
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")

    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        client.delete_function(FunctionName=name, Qualifier="1")
    assert refused.value.response["Error"]["Message"] == (
        "Unable to delete version because the following aliases reference it: [live]"
    )
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="$LATEST")
    client.delete_function(FunctionName=name, Qualifier="1")

    assert cloud.invoke(f"{name}:live", {"a": 1})[1] is None
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    client.delete_function(FunctionName=name)  # and everything that belongs to it
