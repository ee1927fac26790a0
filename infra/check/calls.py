"""The calls to AWS that the programs make, recorded by the role under which each runs on AWS.

botocore tells of each call of the product's one session (:mod:`chalicelib.storage.aws`). The permissions
that a call needs are those of AWS's service authorization reference, with what S3's documentation adds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from botocore import xform_name

from chalicelib.storage import aws


class Need(NamedTuple):
    """One permission that a call needed: the role's logical name, the action, the resource's ARN."""

    role: str
    action: str
    resource: str


class Recorder:
    """Notes the needs of all calls made inside :meth:`acting`."""

    def __init__(self, region: str, account: str) -> None:
        self.needs: set[Need] = set()
        self.operations: set[str] = set()
        self._place = f"{region}:{account}"
        self._role: str | None = None
        session: Any = aws._session()  # every client of the product is made by this one
        session.register("provide-client-params.*.*", self._remember, unique_id="studysmart-check-before")
        session.register("after-call.*.*", self._note, unique_id="studysmart-check-after")

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """All calls of this process meanwhile, on any thread, are the role's."""
        before, self._role = self._role, role
        try:
            yield
        finally:
            self._role = before

    def _remember(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["studysmart_params"] = dict(params)

    def _note(self, model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        service = model.service_model.service_name
        self.operations.add(xform_name(model.name))
        if self._role is None or model.auth_type == "none":
            return  # nobody's, or an operation that needs no permission, such as signing in
        params = context["studysmart_params"]
        status = parsed["ResponseMetadata"]["HTTPStatusCode"]
        found = self._of_s3(model.name, params, status) if service == "s3" else [self._of(service, model.name, params)]
        self.needs |= {Need(self._role, action, resource) for action, resource in found}

    def _of(self, service: str, operation: str, params: dict[str, Any]) -> tuple[str, str]:
        if service == "sqs":
            name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
            return f"sqs:{operation}", f"arn:aws:sqs:{self._place}:{name}"
        if service == "cognito-idp":
            return f"cognito-idp:{operation}", f"arn:aws:cognito-idp:{self._place}:userpool/{params['UserPoolId']}"
        raise LookupError(f"nobody said yet what {service} {operation} needs")

    def _of_s3(self, operation: str, params: dict[str, Any], status: int) -> list[tuple[str, str]]:
        bucket = f"arn:aws:s3:::{params['Bucket']}"
        if operation == "ListObjectsV2":
            return [("s3:ListBucket", bucket)]
        one = f"{bucket}/{params['Key']}"
        if operation in ("GetObject", "HeadObject"):
            # Who may not list is told "denied" of an object that is not there.
            absent = [("s3:ListBucket", bucket)] if status == 404 else []
            return [("s3:GetObject", one), *absent]
        if operation == "PutObject":
            # If-Match reads what it compares with.
            compared = [("s3:GetObject", one)] if "IfMatch" in params else []
            return [("s3:PutObject", one), *compared]
        if operation == "DeleteObject":
            return [("s3:DeleteObject", one)]
        raise LookupError(f"nobody said yet what s3 {operation} needs")


_CLIENTS = ("_s3", "_sqs", "_cognito", "client")


def operations_in(program: Path) -> set[str]:
    """The operations that the sources below ``program`` call on clients, in Python's spelling."""
    found: set[str] = set()
    for path in program.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            on = node.func.value
            if (on.attr if isinstance(on, ast.Attribute) else getattr(on, "id", "")) not in _CLIENTS:
                continue
            if node.func.attr == "get_paginator":
                assert isinstance(node.args[0], ast.Constant)
                found.add(str(node.args[0].value))
            else:
                found.add(node.func.attr)
    return found
