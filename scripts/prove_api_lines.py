"""Hooks of prove-api: an answer in lines is a list, each line of which is as its schema says."""

import json

import schemathesis

LINES = "application/x-ndjson"


@schemathesis.deserializer(LINES)
def lines(_context, response):
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_load_schema(_context, document):
    for operations in document["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                if LINES in content:
                    content[LINES]["schema"] = {"type": "array", "minItems": 1, "items": content[LINES]["schema"]}
