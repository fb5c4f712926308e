"""Settings of functions in Lambda's API, with boto3's client and the aws command as they are."""

import concurrent.futures
import io
import json
import zipfile

import amazon_clients
import harness
import pytest
from botocore.exceptions import ClientError

EVENTS = harness.FUNCTIONS / "events"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


def client(daemon):
    return amazon_clients.client(daemon, parameter_validation=False)


@pytest.fixture
def amazon(daemon):
    return client(daemon)


def aws(daemon, *words):
    """What the aws command prints, as JSON."""
    return amazon_clients.output(amazon_clients.run(daemon, words))


def refused(call, **arguments):
    """The error's status, type and message."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


def published(daemon, amazon, name, alias="live"):
    """A function with version 1 and an alias of it."""
    daemon.deploy(EVENTS, name)
    version = amazon.publish_version(FunctionName=name)["Version"]
    amazon.create_alias(FunctionName=name, Name=alias, FunctionVersion=version)
    return version


def without_metadata(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


# ---- Function URLs


def test_a_function_url_is_made_changed_shown_and_deleted(daemon, amazon):
    published(daemon, amazon, "urls")
    cors = {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET", "POST"], "MaxAge": 60}
    made = amazon.create_function_url_config(FunctionName="urls", AuthType="NONE", Cors=cors)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionUrl"] == f"http://urls.localhost:{daemon.port}/"
    assert made["FunctionArn"] == ARN + "urls"
    assert made["Cors"] == {**cors, "AllowCredentials": False}
    got = amazon.get_function_url_config(FunctionName=ARN + "urls")
    assert got["CreationTime"] == got["LastModifiedTime"] == made["CreationTime"]
    changed = amazon.update_function_url_config(FunctionName="urls", AuthType="AWS_IAM")
    assert (changed["AuthType"], changed["Cors"]) == ("AWS_IAM", got["Cors"])
    assert changed["CreationTime"] == made["CreationTime"]
    of_alias = amazon.create_function_url_config(FunctionName="urls", Qualifier="live", AuthType="NONE")
    assert of_alias["FunctionUrl"] == f"http://live.urls.localhost:{daemon.port}/"
    assert of_alias["FunctionArn"] == ARN + "urls:live"
    listed = amazon.list_function_url_configs(FunctionName="urls")["FunctionUrlConfigs"]
    assert [one["FunctionArn"] for one in listed] == [ARN + "urls", ARN + "urls:live"]
    pages = amazon.get_paginator("list_function_url_configs").paginate(
        FunctionName="urls", PaginationConfig={"PageSize": 1}
    )
    assert [len(page["FunctionUrlConfigs"]) for page in pages] == [1, 1]
    assert amazon.delete_function_url_config(FunctionName="urls")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(amazon.get_function_url_config, FunctionName="urls")[:2] == (404, "ResourceNotFoundException")
    assert amazon.get_function_url_config(FunctionName="urls:live")["AuthType"] == "NONE"
    amazon.delete_alias(FunctionName="urls", Name="live")
    assert amazon.list_function_url_configs(FunctionName="urls")["FunctionUrlConfigs"] == []
    amazon.create_alias(FunctionName="urls", Name="live", FunctionVersion="$LATEST")
    assert refused(amazon.get_function_url_config, FunctionName="urls:live")[0] == 404


def test_function_urls_are_refused_by_name(daemon, amazon):
    published(daemon, amazon, "no-urls")
    create = amazon.create_function_url_config
    for arguments, status, code, words in [
        ({}, 400, "InvalidParameterValueException", "AuthType is missing"),
        ({"AuthType": "SOME"}, 400, "InvalidParameterValueException", "NONE or AWS_IAM"),
        ({"AuthType": "NONE", "Cors": {"MaxAge": 86401}}, 400, "InvalidParameterValueException", "Cors.MaxAge"),
        ({"AuthType": "NONE", "Qualifier": "1"}, 400, "InvalidParameterValueException", "Qualifier"),
        ({"AuthType": "NONE", "Qualifier": "gone"}, 404, "ResourceNotFoundException", ":no-urls:gone"),
        ({"AuthType": "NONE", "FunctionName": "nobody"}, 404, "ResourceNotFoundException", ":nobody"),
    ]:
        answer = refused(create, **{"FunctionName": "no-urls", **arguments})
        assert answer[:2] == (status, code) and words in answer[2], answer
    update = amazon.update_function_url_config
    assert refused(update, FunctionName="no-urls", AuthType="NONE")[:2] == (404, "ResourceNotFoundException")
    assert refused(amazon.delete_function_url_config, FunctionName="no-urls")[0] == 404
    create(FunctionName="no-urls", AuthType="NONE")
    assert refused(create, FunctionName="no-urls", AuthType="NONE")[:2] == (409, "ResourceConflictException")
    body = {"AuthType": "NONE", "InvokeMode": "SLOW"}
    answer = daemon.request("PUT", "/2021-10-31/functions/no-urls/url", json=body)
    assert answer.status_code == 400 and "InvokeMode must be BUFFERED or RESPONSE_STREAM" in answer.text
    answer = daemon.request("PUT", "/2021-10-31/functions/no-urls/url", json={"InvokeMode": "RESPONSE_STREAM"})
    assert answer.json()["InvokeMode"] == "RESPONSE_STREAM"
    for method, path in [("PATCH", "/url"), ("POST", "/urls")]:
        assert daemon.request(method, "/2021-10-31/functions/no-urls" + path).status_code == 400


# ---- What becomes of events


def test_an_event_invoke_config_is_put_changed_listed_and_deleted(daemon, amazon):
    published(daemon, amazon, "events-config")
    queue = "arn:aws:s3:::dead"
    put = amazon.put_function_event_invoke_config(
        FunctionName="events-config",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    assert put["FunctionArn"] == ARN + "events-config:$LATEST"
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": queue}}
    assert (put["MaximumRetryAttempts"], "MaximumEventAgeInSeconds" in put) == (0, False)
    assert put["LastModified"].year >= 2024
    changed = amazon.update_function_event_invoke_config(FunctionName="events-config", MaximumEventAgeInSeconds=60)
    assert (changed["MaximumEventAgeInSeconds"], changed["MaximumRetryAttempts"]) == (60, 0)
    assert changed["DestinationConfig"]["OnFailure"] == {"Destination": queue}
    got = amazon.get_function_event_invoke_config(FunctionName="events-config", Qualifier="$LATEST")
    assert without_metadata(got) == without_metadata(changed)
    replaced = amazon.put_function_event_invoke_config(FunctionName="events-config", MaximumRetryAttempts=2)
    assert "MaximumEventAgeInSeconds" not in replaced
    assert replaced["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    for qualifier in ["1", "live"]:
        amazon.put_function_event_invoke_config(
            FunctionName="events-config", Qualifier=qualifier, MaximumRetryAttempts=1
        )
    pages = amazon.get_paginator("list_function_event_invoke_configs").paginate(
        FunctionName="events-config", PaginationConfig={"PageSize": 2}
    )
    arns = [one["FunctionArn"] for page in pages for one in page["FunctionEventInvokeConfigs"]]
    assert arns == [ARN + "events-config:" + qualifier for qualifier in ["$LATEST", "1", "live"]]
    amazon.delete_function_event_invoke_config(FunctionName="events-config", Qualifier="1")
    gone = refused(amazon.get_function_event_invoke_config, FunctionName="events-config", Qualifier="1")
    assert gone[:2] == (404, "ResourceNotFoundException") and "doesn't have an EventInvokeConfig" in gone[2]


def test_event_invoke_configs_are_refused_by_name(daemon, amazon):
    daemon.deploy(EVENTS, "no-events-config")
    put = amazon.put_function_event_invoke_config
    for arguments, words in [
        ({}, "at least one of"),
        ({"MaximumRetryAttempts": 3}, "from 0 to 2"),
        ({"MaximumEventAgeInSeconds": 59}, "from 60 to 21600"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "there"}}}, "must be an ARN"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:0:dead"}}}, "must be an ARN of a f"),
    ]:
        answer = refused(put, FunctionName="no-events-config", **arguments)
        assert answer[:2] == (400, "InvalidParameterValueException") and words in answer[2], answer
    for call in [amazon.update_function_event_invoke_config, put]:
        answer = refused(call, FunctionName="no-events-config", Qualifier="7", MaximumRetryAttempts=1)
        assert answer[:2] == (404, "ResourceNotFoundException")
    answer = refused(
        amazon.update_function_event_invoke_config, FunctionName="no-events-config", MaximumRetryAttempts=1
    )
    assert answer[:2] == (404, "ResourceNotFoundException")


# ---- Reserved concurrency, and the account


RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_reserved_concurrency_is_put_shown_and_deleted(daemon, amazon):
    daemon.deploy(EVENTS, "reserved")
    before = amazon.get_account_settings()["AccountLimit"]
    assert before["ConcurrentExecutions"] == 1000
    assert "ReservedConcurrentExecutions" not in amazon.get_function_concurrency(FunctionName="reserved")
    put = amazon.put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=7)
    assert put["ReservedConcurrentExecutions"] == 7
    assert amazon.get_function_concurrency(FunctionName=ARN + "reserved")["ReservedConcurrentExecutions"] == 7
    assert amazon.get_function(FunctionName="reserved")["Concurrency"] == {"ReservedConcurrentExecutions": 7}
    left = amazon.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    assert left == before["UnreservedConcurrentExecutions"] - 7
    for _ in range(2):
        amazon.delete_function_concurrency(FunctionName="reserved")
    assert "Concurrency" not in amazon.get_function(FunctionName="reserved")
    after = amazon.get_account_settings()["AccountLimit"]
    assert after["UnreservedConcurrentExecutions"] == before["UnreservedConcurrentExecutions"]


def test_reservations_are_refused_by_name(daemon, amazon):
    published(daemon, amazon, "greedy")
    put = amazon.put_function_concurrency
    for arguments, status, words in [
        ({"ReservedConcurrentExecutions": 901}, 400, "UnreservedConcurrentExecution below its minimum value of [100]"),
        ({"ReservedConcurrentExecutions": -1}, 400, "from 0 to"),
        ({}, 400, "ReservedConcurrentExecutions is missing"),
        ({"FunctionName": "greedy:live", "ReservedConcurrentExecutions": 1}, 400, "whole function"),
        ({"FunctionName": "nobody", "ReservedConcurrentExecutions": 1}, 404, "nobody"),
    ]:
        answer = refused(put, **{"FunctionName": "greedy", **arguments})
        assert answer[0] == status and words in answer[2], answer


def test_one_more_than_is_reserved_is_throttled(daemon, amazon):
    function = daemon.deploy(EVENTS, "throttled", timeout_s=5)
    amazon.put_function_concurrency(FunctionName="throttled", ReservedConcurrentExecutions=1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(amazon.invoke, FunctionName="throttled", Payload=b'{"do": "hang"}')
        harness.wait_for(lambda: function.environments("busy"), "the first invocation to run")
        with pytest.raises(amazon.exceptions.TooManyRequestsException) as caught:
            client(daemon).invoke(FunctionName="throttled", Payload=b"{}")
        answer = caught.value.response
        assert (answer["Reason"], answer["Error"]["Message"]) == (RESERVED, "Rate Exceeded.")
        assert int(answer["retryAfterSeconds"]) >= 1
        assert b"Task timed out" in first.result()["Payload"].read()
    assert json.load(amazon.invoke(FunctionName="throttled", Payload=b"{}")["Payload"])["count"] == 1


def test_nothing_reserved_stops_a_function_of_either_kind(deploy, daemon, amazon):
    daemon.deploy(EVENTS, "stopped")
    function = deploy()
    assert function.get().status_code == 200
    for name in ["stopped", function.name]:
        amazon.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(amazon.exceptions.TooManyRequestsException):
        amazon.invoke(FunctionName="stopped")
    harness.assert_error(function.get(), 429, "Overloaded", RESERVED)
    amazon.delete_function_concurrency(FunctionName=function.name)
    assert function.get().status_code == 200


def test_functions_without_a_reservation_share_what_is_left_of_the_account(serve):
    daemon = serve(concurrent_executions_max=1)
    function = daemon.deploy(EVENTS, "first", timeout_s=5)
    daemon.deploy(EVENTS, "second")
    assert client(daemon).get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 1
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        running = threads.submit(client(daemon).invoke, FunctionName="first", Payload=b'{"do": "hang"}')
        harness.wait_for(lambda: function.environments("busy"), "the first invocation to run")
        with pytest.raises(ClientError) as caught:
            client(daemon).invoke(FunctionName="second", Payload=b"{}")
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        running.result()
    assert client(daemon).invoke(FunctionName="second", Payload=b"{}")["StatusCode"] == 200


def test_account_settings_are_this_daemons_own(serve):
    daemon = serve(upload_max_mb=5)
    empty = client(daemon).get_account_settings()
    assert empty["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    assert empty["AccountLimit"]["CodeSizeZipped"] == 5 << 20
    daemon.deploy(EVENTS, "one")
    daemon.deploy(EVENTS, "same-code")
    usage = client(daemon).get_account_settings()["AccountUsage"]
    size = client(daemon).get_function_configuration(FunctionName="one")["CodeSize"]
    assert usage == {"TotalCodeSize": size, "FunctionCount": 2}


# ---- Provisioned concurrency


def provision(amazon, name, qualifier, executions):
    """Puts it and waits until it is so."""
    arguments = {"FunctionName": name, "Qualifier": qualifier}
    amazon.put_provisioned_concurrency_config(**arguments, ProvisionedConcurrentExecutions=executions)
    return wait_ready(amazon, name, qualifier)


def wait_ready(amazon, name, qualifier):
    def ready():
        got = amazon.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        return got if got["Status"] == "READY" else None

    return harness.wait_for(ready, "provisioned concurrency to be READY")


def environments_of(daemon, name, qualifier):
    """Those that live."""
    view = daemon.get(f"/2015-03-31/functions/{name}?Qualifier={qualifier}").json()["Thaw"]["Environments"]
    return {one["Id"]: one for one in view if one["State"] != "ending"}


def test_provisioned_environments_are_there_before_the_first_invocation_and_stay(daemon, amazon):
    daemon.deploy(EVENTS, "warm", idle_s=1)
    version = amazon.publish_version(FunctionName="warm")["Version"]
    asked = amazon.put_provisioned_concurrency_config(
        FunctionName="warm", Qualifier=version, ProvisionedConcurrentExecutions=2
    )
    assert asked["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert asked["RequestedProvisionedConcurrentExecutions"] == 2
    got = wait_ready(amazon, "warm", version)
    assert got["AvailableProvisionedConcurrentExecutions"] == got["AllocatedProvisionedConcurrentExecutions"] == 2
    started = environments_of(daemon, "warm", version)
    assert len(started) == 2 and all(one["Invocations"] == 0 for one in started.values())
    # Beyond idle_s, at which others go.
    harness.wait_for(
        lambda: all(one["AgeSeconds"] >= 3 for one in environments_of(daemon, "warm", version).values()), "3 s"
    )
    seen = json.load(amazon.invoke(FunctionName="warm", Qualifier=version, Payload=b"{}")["Payload"])
    assert seen["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
    assert set(environments_of(daemon, "warm", version)) == set(started)
    unqualified = json.load(amazon.invoke(FunctionName="warm", Payload=b"{}")["Payload"])
    assert unqualified["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    amazon.delete_provisioned_concurrency_config(FunctionName="warm", Qualifier=version)
    harness.wait_for(lambda: not environments_of(daemon, "warm", version), "the environments to end")
    gone = refused(amazon.get_provisioned_concurrency_config, FunctionName="warm", Qualifier=version)
    assert gone[:2] == (404, "ProvisionedConcurrencyConfigNotFoundException")
    amazon.delete_provisioned_concurrency_config(FunctionName="warm", Qualifier=version)


def test_a_provisioned_environment_that_ends_is_replaced(daemon, amazon):
    version = published(daemon, amazon, "replaced")
    provision(amazon, "replaced", version, 1)
    (before,) = environments_of(daemon, "replaced", version)
    failed = amazon.invoke(FunctionName="replaced", Qualifier=version, Payload=b'{"do": "exit", "status": 1}')
    assert failed["FunctionError"] == "Unhandled"
    harness.wait_for(lambda: set(environments_of(daemon, "replaced", version)) - {before}, "another environment")
    wait_ready(amazon, "replaced", version)
    assert len(environments_of(daemon, "replaced", version)) == 1


def test_what_exceeds_the_provisioned_starts_on_demand(daemon, amazon):
    function = daemon.deploy(EVENTS, "spills", timeout_s=5)
    version = amazon.publish_version(FunctionName="spills")["Version"]
    provision(amazon, "spills", version, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        arguments = {"FunctionName": "spills", "Qualifier": version}
        running = threads.submit(amazon.invoke, Payload=b'{"do": "hang"}', **arguments)
        harness.wait_for(
            lambda: any(one["State"] == "busy" for one in environments_of(daemon, "spills", version).values()), "busy"
        )
        seen = json.load(client(daemon).invoke(Payload=b"{}", **arguments)["Payload"])
        assert seen["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
        running.result()
    assert "Task timed out" in function.log()


def test_provisioned_concurrency_of_an_alias_follows_it(daemon, amazon):
    published(daemon, amazon, "follows")
    provision(amazon, "follows", "live", 1)
    assert len(environments_of(daemon, "follows", 1)) == 1
    again = refused(
        amazon.put_provisioned_concurrency_config,
        FunctionName="follows",
        Qualifier="1",
        ProvisionedConcurrentExecutions=1,
    )
    assert again[0] == 400 and "provisioned concurrency already, as live" in again[2]
    daemon.deploy(EVENTS, "follows", timeout_s=3)
    second = amazon.publish_version(FunctionName="follows")["Version"]
    amazon.update_alias(FunctionName="follows", Name="live", FunctionVersion=second)
    wait_ready(amazon, "follows", "live")
    assert len(environments_of(daemon, "follows", second)) == 1
    harness.wait_for(lambda: not environments_of(daemon, "follows", 1), "those of the version before to end")
    pages = amazon.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName="follows")
    (listed,) = [one for page in pages for one in page["ProvisionedConcurrencyConfigs"]]
    assert (listed["FunctionArn"], listed["Status"]) == (ARN + "follows:live", "READY")
    amazon.delete_alias(FunctionName="follows", Name="live")
    harness.wait_for(lambda: not environments_of(daemon, "follows", second), "those of the alias to end")


def test_an_init_that_fails_is_told_by_the_status(daemon, amazon):
    daemon.deploy(EVENTS, "never-warm", environment__INIT="exit")
    version = amazon.publish_version(FunctionName="never-warm")["Version"]
    arguments = {"FunctionName": "never-warm", "Qualifier": version}
    amazon.put_provisioned_concurrency_config(**arguments, ProvisionedConcurrentExecutions=1)

    def failed():
        got = amazon.get_provisioned_concurrency_config(**arguments)
        return got if got["Status"] == "FAILED" else None

    got = harness.wait_for(failed, "the status FAILED")
    assert "exit status 3" in got["StatusReason"]
    assert got["AvailableProvisionedConcurrentExecutions"] == 0
    # It is tried again, and not over and over: each init logs one line.
    assert daemon.get("/thaw/v1/functions/never-warm/logs?bytes=1000000").text.count("INIT_REPORT") < 5
    amazon.delete_function(FunctionName="never-warm")


def test_provisioned_concurrency_is_refused_by_name(daemon, amazon):
    published(daemon, amazon, "cold")
    put = amazon.put_provisioned_concurrency_config
    for arguments, status, words in [
        ({"Qualifier": "$LATEST"}, 400, "not possible for $LATEST"),
        ({"ProvisionedConcurrentExecutions": 0}, 400, "from 1 to"),
        ({"ProvisionedConcurrentExecutions": 11}, 400, "environments_max"),
        ({"Qualifier": "7"}, 404, ":cold:7"),
    ]:
        answer = refused(
            put, **{"FunctionName": "cold", "Qualifier": "1", "ProvisionedConcurrentExecutions": 1, **arguments}
        )
        assert answer[0] == status and words in answer[2], answer
    amazon.put_function_concurrency(FunctionName="cold", ReservedConcurrentExecutions=2)
    answer = refused(put, FunctionName="cold", Qualifier="1", ProvisionedConcurrentExecutions=3)
    assert answer[0] == 400 and "reservedConcurrentExecution for function [2]" in answer[2]
    provision(amazon, "cold", "1", 2)
    answer = refused(amazon.put_function_concurrency, FunctionName="cold", ReservedConcurrentExecutions=1)
    assert answer[0] == 400 and "total provisioned concurrency [2]" in answer[2]
    amazon.delete_function(FunctionName="cold")
    harness.wait_for(lambda: not daemon.function_processes("cold"), "its environments to end with the function")


def test_provisioned_environments_come_back_after_a_kill(serve):
    daemon = serve()
    daemon.deploy(EVENTS, "again")
    version = client(daemon).publish_version(FunctionName="again")["Version"]
    words = ["--function-name", "again", "--qualifier", version]
    aws(daemon, "put-provisioned-concurrency-config", *words, "--provisioned-concurrent-executions", "2")
    wait_ready(client(daemon), "again", version)
    daemon.kill()
    daemon.start()
    wait_ready(client(daemon), "again", version)
    assert len(environments_of(daemon, "again", version)) == 2
    assert aws(daemon, "get-provisioned-concurrency-config", *words)["Status"] == "READY"


# ---- Tags, permissions, and what has one value


def test_tags_are_added_shown_and_taken_away(daemon, amazon):
    published(daemon, amazon, "tagged")
    assert amazon.list_tags(Resource=ARN + "tagged")["Tags"] == {}
    assert "Tags" not in amazon.get_function(FunctionName="tagged")
    amazon.tag_resource(Resource=ARN + "tagged", Tags={"team": "red", "größe": "7 m"})
    amazon.tag_resource(Resource=ARN + "tagged", Tags={"team": "blue", "a": ""})
    assert amazon.list_tags(Resource=ARN + "tagged")["Tags"] == {"team": "blue", "größe": "7 m", "a": ""}
    amazon.untag_resource(Resource=ARN + "tagged", TagKeys=["größe", "a", "never"])
    assert amazon.get_function(FunctionName="tagged")["Tags"] == {"team": "blue"}
    for arguments, status, words in [
        ({"Tags": {"aws:x": ""}}, 400, "reserved"),
        ({"Tags": {"k": "v" * 257}}, 400, "at most 256"),
        ({"Tags": {str(n): "" for n in range(50)}}, 400, "51 tags; at most 50"),
        ({"Tags": {"k": "v"}, "Resource": ARN + "tagged:live"}, 400, "aliases and versions"),
        ({"Tags": {"k": "v"}, "Resource": ARN + "nobody"}, 404, "nobody"),
    ]:
        answer = refused(amazon.tag_resource, **{"Resource": ARN + "tagged", **arguments})
        assert answer[0] == status and words in answer[2], answer
    assert amazon.list_tags(Resource=ARN + "tagged")["Tags"] == {"team": "blue"}


def test_permissions_are_granted_shown_and_taken_back(daemon, amazon):
    published(daemon, amazon, "permitted")
    grant = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::b"}
    assert refused(amazon.get_policy, FunctionName="permitted")[:2] == (404, "ResourceNotFoundException")
    made = amazon.add_permission(FunctionName="permitted", StatementId="s3", **grant)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    statement = json.loads(made["Statement"])
    assert (statement["Sid"], statement["Resource"]) == ("s3", ARN + "permitted")
    assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}
    got = amazon.get_policy(FunctionName="permitted")
    assert json.loads(got["Policy"])["Statement"] == [statement]
    amazon.add_permission(FunctionName="permitted", StatementId="all", RevisionId=got["RevisionId"], **grant)
    stale = refused(
        amazon.add_permission, FunctionName="permitted", StatementId="x", RevisionId=got["RevisionId"], **grant
    )
    assert stale[:2] == (412, "PreconditionFailedException")
    again = refused(amazon.add_permission, FunctionName="permitted", StatementId="s3", **grant)
    assert again[:2] == (409, "ResourceConflictException")
    of_alias = amazon.add_permission(FunctionName="permitted", Qualifier="live", StatementId="s3", **grant)
    assert json.loads(of_alias["Statement"])["Resource"] == ARN + "permitted:live"
    amazon.remove_permission(FunctionName="permitted", StatementId="s3")
    left = json.loads(amazon.get_policy(FunctionName="permitted")["Policy"])["Statement"]
    assert [one["Sid"] for one in left] == ["all"]
    assert refused(amazon.remove_permission, FunctionName="permitted", StatementId="s3")[0] == 404
    amazon.remove_permission(FunctionName="permitted", StatementId="all")
    assert refused(amazon.get_policy, FunctionName="permitted")[0] == 404
    assert json.loads(amazon.get_policy(FunctionName="permitted:live")["Policy"])["Statement"][0]["Sid"] == "s3"
    bad = refused(amazon.add_permission, FunctionName="permitted", StatementId="x", **{**grant, "Action": "s3:Get"})
    assert bad[:2] == (400, "InvalidParameterValueException")


def test_a_policy_has_a_bound(daemon, amazon):
    daemon.deploy(EVENTS, "bound")
    grant = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::" + "b" * 2000}
    answers = []
    while len(answers) < 20:
        try:
            amazon.add_permission(FunctionName="bound", StatementId=f"s{len(answers)}", **grant)
            answers.append("made")
        except amazon.exceptions.PolicyLengthExceededException:
            break
    assert 5 < len(answers) < 11


def test_settings_with_one_value_refuse_the_others_by_name(daemon):
    daemon.deploy(EVENTS, "fixed")

    def ask(method, path, **body):
        return daemon.request(method, path, json=body or None)

    runtime = "/2021-07-20/functions/fixed/runtime-management-config"
    expected = {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN + "fixed:$LATEST"}
    assert ask("GET", runtime).json() == ask("PUT", runtime, UpdateRuntimeOn="Auto").json() == expected
    answer = ask("PUT", runtime, UpdateRuntimeOn="Manual", RuntimeVersionArn="arn:aws:lambda:us-east-1::runtime:x")
    assert answer.status_code == 400 and "must be Auto" in answer.text
    assert "Auto, Manual or FunctionUpdate" in ask("PUT", runtime, UpdateRuntimeOn="Never").text
    recursion = "/2024-08-31/functions/fixed/recursion-config"
    assert ask("GET", recursion).json() == ask("PUT", recursion, RecursiveLoop="Allow").json()
    assert ask("PUT", recursion, RecursiveLoop="Terminate").status_code == 400
    signing = "/2020-06-30/functions/fixed/code-signing-config"
    answer = ask("PUT", signing, CodeSigningConfigArn="arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-1")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (404, "CodeSigningConfigNotFoundException")
    assert ask("DELETE", signing).status_code == 204
    assert ask("GET", "/2021-07-20/functions/nobody/runtime-management-config").status_code == 404


def test_a_function_can_be_made_with_tags(daemon, amazon):
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    return 1\n")
    made = {
        "FunctionName": "born-tagged",
        "Runtime": "python3.11",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "app.handler",
        "Code": {"ZipFile": package.getvalue()},
    }
    assert refused(amazon.create_function, **made, Tags={"aws:no": ""})[0] == 400
    amazon.create_function(**made, Tags={"team": "red"})
    assert amazon.list_tags(Resource=ARN + "born-tagged")["Tags"] == {"team": "red"}
    amazon.delete_function(FunctionName="born-tagged")


def test_the_aws_command_and_a_restart_see_the_same_settings(serve):
    daemon = serve()
    daemon.deploy(EVENTS, "kept")
    made = aws(daemon, "create-function-url-config", "--function-name", "kept", "--auth-type", "AWS_IAM")
    assert made["AuthType"] == "AWS_IAM"
    put = aws(daemon, "put-function-event-invoke-config", "--function-name", "kept", "--maximum-retry-attempts", "1")
    assert put["MaximumRetryAttempts"] == 1
    words = ["--function-name", "kept", "--reserved-concurrent-executions", "0"]
    assert aws(daemon, "put-function-concurrency", *words) == {"ReservedConcurrentExecutions": 0}
    aws(daemon, "tag-resource", "--resource", ARN + "kept", "--tags", "team=red")
    words = ["--action", "lambda:InvokeFunction", "--principal", "*", "--statement-id", "all"]
    aws(daemon, "add-permission", "--function-name", "kept", *words)
    policy = aws(daemon, "get-policy", "--function-name", "kept")
    daemon.kill()
    daemon.start()
    assert aws(daemon, "list-tags", "--resource", ARN + "kept") == {"Tags": {"team": "red"}}
    assert aws(daemon, "get-policy", "--function-name", "kept") == policy
    again = client(daemon).get_function_url_config(FunctionName="kept")
    assert (again["AuthType"], again["CreationTime"]) == ("AWS_IAM", made["CreationTime"])
    assert aws(daemon, "get-function-event-invoke-config", "--function-name", "kept") == put
    with pytest.raises(ClientError) as caught:
        client(daemon).invoke(FunctionName="kept")
    assert caught.value.response["Reason"] == RESERVED
