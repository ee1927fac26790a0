"""Releases: the image, the zip and the packaged template of a commit, made once and kept for every stage."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from chalicelib.api import pages
from infra.deploy import DeployError
from infra.deploy.stage import ROOT, Deployment
from infra.package import PackageError, build, install, template

DOCKERFILE: Final = "training_job/Dockerfile"
SCAN_SECONDS: Final = 300.0

_ADVICE = "Take a newer base image, or set allow_critical_findings = true in the stage's file if you accept it."

_DOCKER_PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}


@dataclass(frozen=True)
class Tools:
    """What builds a release; tests have others."""

    run: Callable[..., str]
    package: Callable[[str, Path], tuple[bytes, template.Template]]


def run(command: Sequence[str], *, text: str | None = None) -> str:
    """Run a program in the checkout, let it print its progress, and return its output. Raises DeployError."""
    try:
        done = subprocess.run(command, cwd=ROOT, input=text, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise DeployError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise DeployError(f"`{' '.join(command)}` failed with exit status {done.returncode}")
    return done.stdout


def package(architecture: str, work: Path) -> tuple[bytes, template.Template]:
    """Build zip and template of the checkout. Raises DeployError."""
    try:
        build.build(ROOT, work / "lambda.zip", work, install.find_python(), architecture)
        return (work / "lambda.zip").read_bytes(), template.render(ROOT, work / "template", architecture)
    except PackageError as error:
        raise DeployError(f"the package cannot be built: {error}") from error


TOOLS: Final = Tools(run, package)


def current_commit(tools: Tools = TOOLS, dry_run: bool = False) -> str:
    """Return the commit of the checkout. Raises DeployError if it has other contents, unless nothing is changed."""
    if not dry_run and tools.run(["git", "status", "--porcelain"]).strip():
        raise DeployError("the checkout has changes that are not committed, and a release is named by its commit")
    return tools.run(["git", "rev-parse", "HEAD"]).strip()


def image(deployment: Deployment, tools: Tools) -> str:
    """Return the URI of the release's image; build and push it if there is none yet. Raises DeployError."""
    name, uri = deployment.values["ImageRepositoryName"], deployment.values["ImageRepositoryUri"]
    tag = _tag(deployment)
    ecr = deployment.client("ecr")
    if _has_image(ecr, name, tag):
        deployment.say(f"  image {uri}:{tag} is there")
    elif deployment.kept:
        raise DeployError(f"there is no image {uri}:{tag}: the repository keeps the newest ones only")
    else:
        deployment.change(f"build image {uri}:{tag} and push it", lambda: _push(deployment, tools, ecr, f"{uri}:{tag}"))
        if deployment.dry_run:
            return f"{uri}:{tag}"
    _require_no_critical_finding(deployment, ecr, name, tag)
    return f"{uri}:{tag}"


def _tag(deployment: Deployment) -> str:
    architecture = deployment.settings.architecture
    return deployment.commit[:12] + ("" if architecture == "x86_64" else f"-{architecture}")


def _has_image(ecr: Any, repository: str, tag: str) -> bool:
    try:
        return bool(ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"])
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ImageNotFoundException", "RepositoryNotFoundException"):
            return False
        raise


def _push(deployment: Deployment, tools: Tools, ecr: Any, uri: str) -> None:
    (login,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = b64decode(login["authorizationToken"]).decode().partition(":")
    tools.run(["docker", "login", "--username", user, "--password-stdin", uri.partition("/")[0]], text=password)
    platform = _DOCKER_PLATFORMS[deployment.settings.architecture]
    # Lambda takes no image with a provenance manifest next to it.
    options = ["--platform", platform, "--provenance=false", "-f", DOCKERFILE, "-t", uri]
    tools.run(["docker", "build", *options, "."])
    tools.run(["docker", "push", uri])


def _require_no_critical_finding(deployment: Deployment, ecr: Any, repository: str, tag: str) -> None:
    """Wait for the scan that the push started. Raises DeployError for critical findings, and if there was no scan."""
    allowed = deployment.settings.allow_critical_findings
    deadline = time.monotonic() + SCAN_SECONDS
    while True:
        try:
            scan = ecr.describe_image_scan_findings(repositoryName=repository, imageId={"imageTag": tag})
        except ClientError as error:
            if error.response["Error"]["Code"] != "ScanNotFoundException":
                raise
            scan = {}
        status = scan.get("imageScanStatus", {}).get("status", "PENDING")
        if status in ("COMPLETE", "ACTIVE"):
            break
        if status not in ("PENDING", "IN_PROGRESS") or time.monotonic() > deadline:
            why = scan.get("imageScanStatus", {}).get("description", f"{status} after {SCAN_SECONDS:.0f} s")
            if not allowed:
                raise DeployError(f"the image was not scanned for vulnerabilities: {why}. {_ADVICE}")
            deployment.say(f"  the image was not scanned for vulnerabilities: {why}")
            return
        time.sleep(deployment.poll_seconds)
    counts = scan.get("imageScanFindings", {}).get("findingSeverityCounts", {})
    found = ", ".join(f"{number} {severity.lower()}" for severity, number in counts.items()) or "none"
    deployment.say(f"  vulnerabilities known in the image: {found}")
    if counts.get("CRITICAL") and not allowed:
        raise DeployError(f"the image has {counts['CRITICAL']} critical vulnerabilities. {_ADVICE}")


def packaged(deployment: Deployment, tools: Tools) -> tuple[template.Template, str]:
    """Return the release's template and its address; build and upload it if there is none yet. Raises DeployError."""
    bucket = deployment.values["ReleasesBucketName"]
    s3 = deployment.client("s3")
    key = template_key(deployment)
    url = f"https://{bucket}.s3.{deployment.region}.amazonaws.com/{key}"
    body = None if bucket.startswith("<") else _read(s3, bucket, key)
    if body is not None:
        deployment.say(f"  template s3://{bucket}/{key} is there")
        return json.loads(body), url
    if deployment.kept:
        raise DeployError(f"no release of commit {deployment.commit} is kept: s3://{bucket}/{key} does not exist")
    with tempfile.TemporaryDirectory(prefix="deploy-") as directory:
        archive, rendered = tools.package(deployment.settings.architecture, Path(directory))
    code = f"code/{hashlib.sha256(archive).hexdigest()}.zip"
    result = with_code(rendered, {"Bucket": bucket, "Key": code})
    deployment.change(
        f"upload s3://{bucket}/{code}, {len(archive) / 1e6:.1f} MB", lambda: _write(s3, bucket, code, archive)
    )
    static = f"static/{pages.version()}"
    deployment.change(f"upload the assets to s3://{bucket}/{static}/", lambda: _upload_assets(s3, bucket, static))
    text = json.dumps(result, indent=1).encode()
    deployment.change(f"upload s3://{bucket}/{key}", lambda: _write(s3, bucket, key, text))
    return result, url


def _upload_assets(s3: Any, bucket: str, folder: str) -> None:
    """Upload the assets of the pages, from where CloudFront serves them, with the headers that the API sends."""
    for name, text in pages.assets().items():
        s3.put_object(
            Bucket=bucket,
            Key=f"{folder}/{name}",
            Body=text.encode(),
            ContentType=pages.CONTENT_TYPES[Path(name).suffix],
            CacheControl=pages.IMMUTABLE,
        )


def template_key(deployment: Deployment) -> str:
    """Return the key of the release's packaged template."""
    return f"releases/{deployment.commit[:12]}/{deployment.settings.architecture}/packaged.json"


def with_code(rendered: template.Template, place: Mapping[str, str]) -> template.Template:
    """Return a rendered template whose functions have their code in a bucket."""
    result: template.Template = json.loads(json.dumps(rendered))
    for resource in result["Resources"].values():
        if isinstance(resource.get("Properties", {}).get("CodeUri"), str):
            resource["Properties"]["CodeUri"] = dict(place)
    return result


def _read(s3: Any, bucket: str, key: str) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket"):
            return None
        raise


def _write(s3: Any, bucket: str, key: str, body: bytes) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=body)
