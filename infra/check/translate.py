"""Carries out SAM's transform as CloudFormation does when a stack is made: ``python translate.py TEMPLATE OUTPUT``.

Runs in the linters' virtual environment, which has AWS's own translator.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(source: str, target: str) -> int:
    """Translate with the parameters' defaults; the code is somewhere in a bucket by then."""
    import boto3
    from samtranslator.parser.parser import Parser  # type: ignore[import-not-found]
    from samtranslator.translator.translator import Translator  # type: ignore[import-not-found]

    template = json.loads(Path(source).read_text(encoding="utf-8"))
    for resource in template["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = {"Bucket": "code-bucket", "Key": "code.zip"}
    parameters = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    session = boto3.Session(region_name="us-east-1")
    translated = Translator({}, Parser(), boto_session=session).translate(template, parameters)
    Path(target).write_text(json.dumps(translated, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
