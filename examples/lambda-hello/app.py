"""A handler as AWS Lambda runs it."""


def handler(event, context):
    name = event.get("name", "world")
    return {"message": f"Hello, {name}!", "request": context.aws_request_id}
