"""Functions made and changed through Lambda's API, by boto3 and the aws command."""

import base64
import hashlib
import io
import json
import os
import zipfile

import amazon_clients
import botocore.exceptions
import harness
import object_server
import pytest
from amazon_clients import ROLE, client, zipped

HANDLER = """
import os

def run(event, context):
    return {"event": event, "word": os.environ.get("WORD"), "here": sorted(os.listdir("/var/task")), "says": "%s"}
"""


def package(says="first"):
    return zipped({"app.py": HANDLER % says})


def create(amazon, name, **members):
    code = members.pop("Code", {"ZipFile": package()})
    given = {"Runtime": "python3.11", "Handler": "app.run", "Role": ROLE, "Code": code, **members}
    return amazon.create_function(FunctionName=name, **given)


def ask(amazon, name, event=None, **members):
    answer = amazon.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **members)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.load(answer["Payload"])


def refused(call, **members):
    """The error's code, status and message."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**members)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def test_a_function_is_created_invoked_and_deleted(daemon):
    amazon = client(daemon)
    code = zipped({"app.py": HANDLER % "first", "thaw.toml": "this is no manifest"})
    made = create(
        amazon,
        "Made_by-1",
        Code={"ZipFile": code},
        Description="what it is",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"WORD": "Grüße"}},
        EphemeralStorage={"Size": 600},
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["FunctionName"], made["Runtime"], made["Handler"]) == ("Made_by-1", "python3.11", "app.run")
    assert made["FunctionArn"].endswith(":function:Made_by-1")
    assert (made["Timeout"], made["MemorySize"], made["EphemeralStorage"]["Size"]) == (7, 256, 600)
    assert (made["Role"], made["Description"], made["Version"]) == (ROLE, "what it is", "$LATEST")
    assert made["Environment"]["Variables"] == {"WORD": "Grüße"}
    assert made["CodeSize"] == len(code)
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert (made["State"], made["LastUpdateStatus"], made["PackageType"]) == ("Active", "Successful", "Zip")
    assert made["RevisionId"] and made["Architectures"] == ["x86_64"]
    for waiter in ("function_exists", "function_active_v2", "function_active", "function_updated_v2"):
        amazon.get_waiter(waiter).wait(FunctionName="Made_by-1")

    seen = ask(amazon, "Made_by-1", {"n": 1})
    assert seen == {"event": {"n": 1}, "word": "Grüße", "here": ["app.py", "thaw.toml"], "says": "first"}

    assert refused(create, amazon=amazon, name="Made_by-1")[:2] == ("ResourceConflictException", 409)
    amazon.delete_function(FunctionName="Made_by-1")
    assert refused(amazon.get_function, FunctionName="Made_by-1")[:2] == ("ResourceNotFoundException", 404)


def test_defaults_are_lambdas_and_publish_makes_version_1(daemon):
    amazon = client(daemon)
    made = create(amazon, "published", Publish=True, Description="d")
    assert (made["Version"], made["Timeout"], made["MemorySize"]) == ("1", 3, 128)
    assert made["FunctionArn"].endswith(":function:published:1")
    amazon.get_waiter("published_version_active").wait(FunctionName="published", Qualifier="1")
    assert ask(amazon, "published", Qualifier="1")["says"] == "first"


def test_code_and_configuration_change(daemon):
    amazon = client(daemon)
    made = create(amazon, "changes")
    assert ask(amazon, "changes")["says"] == "first"
    second = package("second")
    dry = amazon.update_function_code(FunctionName="changes", ZipFile=second, DryRun=True)
    assert dry["CodeSha256"] != made["CodeSha256"]
    assert ask(amazon, "changes")["says"] == "first"
    changed = amazon.update_function_code(FunctionName="changes", ZipFile=second, RevisionId=made["RevisionId"])
    assert changed["CodeSha256"] == dry["CodeSha256"] and changed["RevisionId"] != made["RevisionId"]
    amazon.get_waiter("function_updated_v2").wait(FunctionName="changes")
    assert ask(amazon, "changes")["says"] == "second"

    old = {"FunctionName": "changes", "RevisionId": made["RevisionId"]}
    assert refused(amazon.update_function_code, ZipFile=second, **old)[:2] == ("PreconditionFailedException", 412)
    assert refused(amazon.update_function_configuration, **old)[:2] == ("PreconditionFailedException", 412)
    configured = amazon.update_function_configuration(
        FunctionName="changes",
        RevisionId=changed["RevisionId"],
        Timeout=9,
        Environment={"Variables": {"WORD": "new"}},
    )
    assert (configured["Timeout"], configured["MemorySize"], configured["Handler"]) == (9, 128, "app.run")
    assert configured["CodeSha256"] == changed["CodeSha256"]
    assert ask(amazon, "changes")["word"] == "new"
    published = amazon.update_function_code(FunctionName="changes", ZipFile=package("third"), Publish=True)
    assert published["Version"] == "1"
    amazon.update_function_configuration(FunctionName="changes", Environment={"Variables": {}})
    assert ask(amazon, "changes")["word"] is None
    assert ask(amazon, "changes", Qualifier="1") == {**ask(amazon, "changes"), "word": "new"}
    assert refused(amazon.update_function_code, FunctionName="nobody", ZipFile=second)[0] == "ResourceNotFoundException"
    assert refused(amazon.update_function_configuration, FunctionName="nobody")[0] == "ResourceNotFoundException"


def test_what_was_changed_outlives_the_daemon(daemon):
    amazon = client(daemon)
    create(amazon, "stays", MemorySize=192)
    amazon.update_function_code(FunctionName="stays", ZipFile=package("kept"))
    before = amazon.get_function_configuration(FunctionName="stays")
    daemon.kill()
    daemon.assert_nothing_left()
    daemon.start()
    amazon = client(daemon)
    after = amazon.get_function_configuration(FunctionName="stays")
    for answer in (before, after):
        answer.pop("ResponseMetadata")
    assert before == after
    assert ask(amazon, "stays")["says"] == "kept"


def test_bad_code_is_refused_in_lambdas_words_and_leaves_nothing(daemon):
    amazon = client(daemon)
    before = sorted(path.name for path in (daemon.data / "packages").iterdir())
    bomb = zipped({"zeros": bytes(262144001)})
    for code, kind, says in [
        ({"ZipFile": b"no zip"}, "InvalidParameterValueException", "Could not unzip uploaded file. Please check your"),
        ({"ZipFile": b""}, "InvalidParameterValueException", "non-empty zip"),
        ({"ZipFile": package()[:-9]}, "InvalidParameterValueException", "Could not unzip uploaded file"),
        ({"ZipFile": zipped({"../up": "x"})}, "InvalidParameterValueException", "Could not unzip uploaded file"),
        ({"ZipFile": bomb}, "InvalidParameterValueException", "Unzipped size must be smaller than 262144000 bytes"),
        ({"ImageUri": "x"}, "InvalidParameterValueException", "ImageUri"),
        ({}, "InvalidParameterValueException", "provide a source for function code"),
    ]:
        found, status, message = refused(create, amazon=amazon, name="bad", Code=code)
        assert (found, status) == (kind, 400)
        assert says in message
    large = json.dumps({"FunctionName": "bad", "Code": {"ZipFile": "A" * 70167211}})
    answer = daemon.request("POST", "/2015-03-31/functions", data=large)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLargeException")
    assert "70167211" in answer.json()["Message"]
    assert refused(amazon.get_function, FunctionName="bad")[0] == "ResourceNotFoundException"
    assert sorted(path.name for path in (daemon.data / "packages").iterdir()) == before
    harness.wait_for(lambda: not list((daemon.data / "uploads").iterdir()), "the uploads to be removed")
    harness.wait_for(lambda: not list((daemon.data / "staging").iterdir()), "the staging folder to be empty")


def test_limits_are_lambdas(daemon):
    amazon = client(daemon)
    for members, kind, says in [
        ({"MemorySize": 64}, "ValidationException", "'memorySize'"),
        ({"Timeout": 901}, "ValidationException", "'timeout'"),
        ({"Role": "me"}, "ValidationException", "'role'"),
        ({"Runtime": "java21"}, "InvalidParameterValueException", "'runtime'"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException", "AWS_REGION"),
        ({"Environment": {"Variables": {"BIG": "x" * 4096}}}, "InvalidParameterValueException", "4KB"),
        ({"Architectures": ["arm64"]}, "InvalidParameterValueException", "arm64"),
    ]:
        lax = client(daemon, parameter_validation=False)
        found, status, message = refused(create, amazon=lax, name="limits", **members)
        assert (found, status) == (kind, 400), message
        assert says in message
    assert refused(create, amazon=amazon, name="a b")[:2] == ("ValidationException", 400)
    assert refused(create, amazon=amazon, name="a" * 65)[:2] == ("ValidationException", 400)
    create(amazon, "a" * 64)
    assert ask(amazon, "a" * 64)["says"] == "first"


def test_the_aws_command_makes_and_changes_a_function(daemon, tmp_path):
    (tmp_path / "code.zip").write_bytes(package())

    def aws(*words):
        return amazon_clients.output(amazon_clients.run(daemon, words))

    name = ["--function-name", "by-cli"]
    what = ["--runtime", "python3.11", "--handler", "app.run", "--role", ROLE]
    made = aws("create-function", *name, *what, "--zip-file", f"fileb://{tmp_path}/code.zip")
    assert made["State"] == "Active"
    aws("wait", "function-active-v2", *name)
    changed = aws("update-function-configuration", *name, "--environment", "Variables={WORD=cli}", "--timeout", "5")
    assert changed["Environment"]["Variables"] == {"WORD": "cli"}
    aws("wait", "function-updated-v2", *name)
    (tmp_path / "code.zip").write_bytes(package("second"))
    aws("update-function-code", *name, "--zip-file", f"fileb://{tmp_path}/code.zip", "--publish")
    aws("wait", "published-version-active", *name, "--qualifier", "1")
    aws("invoke", *name, str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["says"] == "second"
    aws("delete-function", *name)


def test_arns_name_functions_and_other_places_are_refused(daemon):
    amazon = client(daemon)
    made = create(amazon, "by-arn", Publish=True)
    arn = made["FunctionArn"].removesuffix(":1")
    partial = "000000000000:function:by-arn"
    for name in ("by-arn", partial, arn):
        assert amazon.get_function(FunctionName=name)["Configuration"]["FunctionArn"] == arn
        assert amazon.get_function_configuration(FunctionName=name + ":1")["Version"] == "1"
        assert ask(amazon, name)["says"] == "first"
        assert amazon.update_function_configuration(FunctionName=name, Timeout=4)["Timeout"] == 4
        assert len(amazon.list_versions_by_function(FunctionName=name)["Versions"]) == 2
    elsewhere = arn.replace("us-east-1", "eu-west-1")
    found, status, message = refused(amazon.get_function, FunctionName=elsewhere)
    assert (found, status) == ("ResourceNotFoundException", 404)
    assert message == "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"
    stranger = arn.replace("000000000000", "123456789012")
    assert refused(amazon.get_function, FunctionName=stranger)[:2] == ("AccessDeniedException", 403)
    assert refused(create, amazon=amazon, name=stranger)[:2] == ("AccessDeniedException", 403)
    amazon.delete_function(FunctionName=arn + ":1")
    assert refused(amazon.get_function, FunctionName="by-arn", Qualifier="1")[:2] == ("ResourceNotFoundException", 404)
    amazon.delete_function(FunctionName=partial)
    assert refused(amazon.get_function, FunctionName="by-arn")[0] == "ResourceNotFoundException"


def test_region_and_account_are_the_daemons(serve):
    daemon = serve(aws_region="eu-central-1", aws_account="123456789012")
    amazon = client(daemon)
    made = create(amazon, "placed", Code={"ZipFile": zipped({"app.py": "import os\ndef run(e, c):\n    return [os.environ['AWS_REGION'], c.invoked_function_arn]\n"})})
    assert made["FunctionArn"] == "arn:aws:lambda:eu-central-1:123456789012:function:placed"
    assert ask(amazon, made["FunctionArn"]) == ["eu-central-1", made["FunctionArn"]]


def test_every_answer_has_a_request_id(daemon):
    paths = ["/2015-03-31/functions", "/2015-03-31/functions/nobody", "/2099-01-01/nothing", "/thaw/v1/status"]
    answers = [daemon.get(path) for path in paths]
    create(client(daemon), "with-id")
    answers.append(daemon.request("POST", "/2015-03-31/functions/with-id/invocations", data=b"1"))
    answers.append(daemon.request("POST", "/2015-03-31/functions/with-id/invocations", data=b"{"))
    ids = [answer.headers["x-amzn-RequestId"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer in answers:
        assert harness.re.fullmatch(harness.UUID, answer.headers["x-amzn-RequestId"])
    error = answers[1]
    assert error.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert error.json()["Type"] == "User" and error.json()["Message"] == error.json()["message"]


def test_get_function_says_where_the_zip_is(daemon):
    amazon = client(daemon)
    code = package("located")
    create(amazon, "located", Code={"ZipFile": code}, Publish=True)
    amazon.update_function_code(FunctionName="located", ZipFile=package("newer"))
    for qualifier, expected in [({}, package("newer")), ({"Qualifier": "1"}, code)]:
        found = amazon.get_function(FunctionName="located", **qualifier)
        assert found["Code"]["RepositoryType"] == "S3"
        answer = daemon.http.get(found["Code"]["Location"], timeout=harness.HANG_S)
        assert answer.status_code == 200
        digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert digest == found["Configuration"]["CodeSha256"]
        assert zipfile.ZipFile(io.BytesIO(answer.content)).read("app.py") == zipfile.ZipFile(io.BytesIO(expected)).read("app.py")
    assert daemon.get("/thaw/v1/functions/nobody/package").status_code == 404


def test_functions_are_listed_with_all_versions(serve):
    daemon = serve()
    amazon = client(daemon)
    for name in ("b", "a", "c"):
        create(amazon, name, Publish=True)
    amazon.update_function_code(FunctionName="a", ZipFile=package("second"), Publish=True)
    pages = amazon.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    assert [one["FunctionName"] for page in pages for one in page["Functions"]] == ["a", "b", "c"]
    for size in (1, 2, 3, 50):
        pages = amazon.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": size})
        found = [(one["FunctionName"], one["Version"]) for page in pages for one in page["Functions"]]
        assert found == [("a", "$LATEST"), ("a", "1"), ("a", "2"), ("b", "$LATEST"), ("b", "1"), ("c", "$LATEST"), ("c", "1")]
    assert refused(amazon.list_functions, FunctionVersion="SOME")[0] == "ValidationException"


class BucketDaemon(harness.Daemon):
    """A daemon whose buckets are at a server of the test's own."""

    def __init__(self, server):
        super().__init__()
        self.server = server

    def environment(self):
        variables = {"AWS_ENDPOINT_URL_S3": self.server.url, "AWS_ACCESS_KEY_ID": object_server.ACCESS_KEY}
        return {**super().environment(), **variables, "AWS_SECRET_ACCESS_KEY": object_server.SECRET_KEY}


@pytest.fixture
def bucket():
    server = object_server.ObjectServer()
    daemon = BucketDaemon(server)
    try:
        daemon.start()
        yield server, client(daemon), daemon
    finally:
        daemon.close()
        server.close()


def test_code_comes_from_a_bucket(bucket):
    server, amazon, daemon = bucket
    code = package("from a bucket")
    server.put("code/path/to/the code.zip", code)
    server.put("code/path/to/the code.zip@old", package("old"))
    server.put("code/no.zip", b"no zip")
    place = {"S3Bucket": "code", "S3Key": "path/to/the code.zip"}
    made = create(amazon, "stored", Code=place)
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert made["CodeSize"] == len(code)
    assert ask(amazon, "stored")["says"] == "from a bucket"
    amazon.update_function_code(FunctionName="stored", **place, S3ObjectVersion="old")
    assert ask(amazon, "stored")["says"] == "old"
    for wrong, says in [
        ({"S3Bucket": "code", "S3Key": "none.zip"}, "NoSuchKey"),
        ({"S3Bucket": "none", "S3Key": "none.zip"}, "NoSuchKey"),
        ({**place, "S3ObjectVersion": "none"}, "NoSuchKey"),
        ({"S3Bucket": "code", "S3Key": "no.zip"}, "Could not unzip"),
        ({"S3Bucket": "code"}, "S3Key"),
    ]:
        found, status, message = refused(amazon.update_function_code, FunctionName="stored", **wrong)
        assert (found, status) == ("InvalidParameterValueException", 400)
        assert says in message
    assert ask(amazon, "stored")["says"] == "old"
    harness.wait_for(lambda: not list((daemon.data / "uploads").iterdir()), "the uploads to be removed")


def publish_layer(amazon, name, files, **members):
    return amazon.publish_layer_version(LayerName=name, Content={"ZipFile": zipped(files)}, **members)


def test_layers_are_published_listed_and_deleted(serve):
    amazon = client(serve())
    assert amazon.list_layers()["Layers"] == []
    code = zipped({"python/one.py": "x = 1"})
    first = amazon.publish_layer_version(
        LayerName="tools",
        Content={"ZipFile": code},
        Description="d",
        LicenseInfo="MIT",
        CompatibleRuntimes=["python3.11", "python3.12"],
        CompatibleArchitectures=["x86_64"],
    )
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 201
    arn = "arn:aws:lambda:us-east-1:000000000000:layer:tools"
    assert (first["LayerArn"], first["LayerVersionArn"], first["Version"]) == (arn, arn + ":1", 1)
    assert first["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert first["Content"]["CodeSize"] == len(code)
    publish_layer(amazon, arn, {"a": "2"})
    publish_layer(amazon, "other", {"a": "3"})
    found = amazon.get_layer_version(LayerName=arn, VersionNumber=1)
    for answer in (found, amazon.get_layer_version_by_arn(Arn=arn + ":1")):
        assert (answer["Description"], answer["LicenseInfo"]) == ("d", "MIT")
        assert answer["CompatibleRuntimes"] == ["python3.11", "python3.12"]
    assert harness.requests.get(found["Content"]["Location"], timeout=harness.HANG_S).content == code
    pages = amazon.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1})
    layers = [layer for page in pages for layer in page["Layers"]]
    assert [(one["LayerName"], one["LatestMatchingVersion"]["Version"]) for one in layers] == [("other", 1), ("tools", 2)]
    pages = amazon.get_paginator("list_layer_versions").paginate(LayerName="tools", PaginationConfig={"PageSize": 1})
    assert [one["Version"] for page in pages for one in page["LayerVersions"]] == [2, 1]

    for _ in range(2):
        amazon.delete_layer_version(LayerName="tools", VersionNumber=2)
    assert refused(amazon.get_layer_version, LayerName="tools", VersionNumber=2)[:2] == ("ResourceNotFoundException", 404)
    assert publish_layer(amazon, "tools", {"a": "4"})["Version"] == 3
    bad = refused(amazon.publish_layer_version, LayerName="tools", Content={"ZipFile": b"no zip"})
    assert bad[0] == "InvalidParameterValueException" and "Could not unzip" in bad[2]


def test_a_function_sees_its_layers_at_opt(serve):
    daemon = serve()
    amazon = client(daemon)
    handler = """
import os, sys
import shared, only_first, versioned

def run(event, context):
    return [shared.x, only_first.x, versioned.x, open("/opt/data/file").read(), os.path.exists("/opt/python/link.py")]
"""
    site = "python/lib/python3.11/site-packages"
    first = publish_layer(
        amazon, "first", {"python/shared.py": "x = 1", "python/only_first.py": "x = 1", "data/file": "a", site + "/versioned.py": "x = 1"}
    )
    second = publish_layer(amazon, "second", {"python/shared.py": "x = 2", "data/file": "b", "python/link.py": ""})
    arns = [first["LayerVersionArn"], second["LayerVersionArn"]]
    made = create(amazon, "layered", Code={"ZipFile": zipped({"app.py": handler})}, Layers=arns, Publish=True)
    assert [one["Arn"] for one in made["Layers"]] == arns
    assert made["Layers"][0]["CodeSize"] == first["Content"]["CodeSize"]
    assert ask(amazon, "layered") == [2, 1, 1, "b", True]
    amazon.update_function_configuration(FunctionName="layered", Layers=arns[::-1])
    assert ask(amazon, "layered") == [1, 1, 1, "a", True]
    assert ask(amazon, "layered", Qualifier="1") == [2, 1, 1, "b", True]

    # What a function has it keeps, also when its layers go and the daemon ends meanwhile.
    for name in ("first", "second"):
        amazon.delete_layer_version(LayerName=name, VersionNumber=1)
    daemon.kill()
    daemon.assert_nothing_left()
    daemon.start()
    amazon = client(daemon)
    assert ask(amazon, "layered") == [1, 1, 1, "a", True]
    kept = amazon.update_function_configuration(FunctionName="layered", Timeout=5)
    assert [one["Arn"] for one in kept["Layers"]] == arns[::-1]
    assert publish_layer(amazon, "first", {"a": "x"})["Version"] == 2

    prefix = "arn:aws:lambda:us-east-1:000000000000:layer:"
    for layers, says in [
        ([arns[0]], "does not exist"),
        ([prefix + "first:2", prefix + "first:1"], "Two different versions"),
        ([prefix + f"l{number}:1" for number in range(6)], "more than 5"),
        (["arn:aws:lambda:eu-west-1:000000000000:layer:first:2"], "not possible"),
    ]:
        found = refused(amazon.update_function_configuration, FunctionName="layered", Layers=layers)
        assert found[:2] == ("InvalidParameterValueException", 400)
        assert says in found[2]
    amazon.update_function_configuration(FunctionName="layered", Layers=[])
    answer = amazon.invoke(FunctionName="layered")
    assert json.load(answer["Payload"])["errorType"] == "Runtime.ImportModuleError"


def test_a_node_layer_is_found(daemon):
    amazon = client(daemon)
    layer = publish_layer(amazon, "for-node", {"nodejs/node_modules/shared/index.js": "exports.x = 7"})
    code = zipped({"index.js": "const s = require('shared'); exports.run = async () => s.x"})
    create(amazon, "node-layered", Runtime="nodejs20.x", Handler="index.run", Code={"ZipFile": code}, Layers=[layer["LayerVersionArn"]])
    assert ask(amazon, "node-layered") == 7


def test_layers_count_towards_the_size_of_a_function(daemon):
    amazon = client(daemon)
    half = zipped({"half": os.urandom(1 << 20) + bytes(134 << 20)})
    layer = amazon.publish_layer_version(LayerName="large", Content={"ZipFile": half})
    message = refused(create, amazon=amazon, name="too-large", Code={"ZipFile": half}, Layers=[layer["LayerVersionArn"]])[2]
    assert "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes" in message


def test_snap_start_makes_snapshots_of_published_versions(daemon):
    amazon = client(daemon)
    made = create(amazon, "snapped", SnapStart={"ApplyOn": "PublishedVersions"}, MemorySize=256, Publish=True)
    amazon.get_waiter("published_version_active").wait(
        FunctionName="snapped", Qualifier=made["Version"], WaiterConfig={"Delay": 1, "MaxAttempts": harness.HANG_S}
    )
    version = amazon.get_function_configuration(FunctionName="snapped", Qualifier="1")
    assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert ask(amazon, "snapped", Qualifier="1")["says"] == "first"
    latest = amazon.update_function_configuration(FunctionName="snapped", SnapStart={"ApplyOn": "None"})
    assert latest["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}


def test_the_logging_configuration_is_the_runtimes(daemon):
    """Over HTTP: Debian's botocore is older than the member."""

    def send(method, path, **members):
        return daemon.request(method, "/2015-03-31/functions" + path, json=members)

    code = {"ZipFile": base64.b64encode(package()).decode()}
    what = {"Runtime": "python3.11", "Handler": "app.run", "Role": ROLE, "Code": code}
    made = send("POST", "", FunctionName="logs-json", LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"}, **what)
    assert made.status_code == 201 and made.json()["LoggingConfig"] == {
        "LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO", "LogGroup": "/aws/lambda/logs-json",
    }
    changed = send("PUT", "/logs-json/configuration", LoggingConfig={"LogFormat": "Text"}).json()
    assert changed["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/logs-json"}
    for members, says in (
        ({"LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}}, "SystemLogLevel"),
        ({"LoggingConfig": {"LogFormat": "XML"}}, "log_format"),
        ({"LoggingConfig": {"LogGroup": "mine"}}, "LogGroup"),
        ({"TracingConfig": {"Mode": "Active"}}, "TracingConfig"),
    ):
        answer = send("PUT", "/logs-json/configuration", **members)
        assert answer.status_code == 400 and answer.headers["x-amzn-ErrorType"] == "InvalidParameterValueException"
        assert says in answer.json()["message"]
