"""Deploy a stage to AWS: the network, the database, a release, the tables, the product, and a check at the end."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import DeployError, releases, steps
from infra.deploy.stage import ROOT, Deployment, read_settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument("stage", metavar="STAGE", help="name of the stage, such as staging or production")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="its settings (default: stages/STAGE.toml)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument(
        "--until", choices=list(steps.STEPS), default="check", metavar="STEP", help="end after this step"
    )
    parser.add_argument("--commit", metavar="SHA", help="deploy the kept release of a commit (default: the checkout's)")
    parser.add_argument("--rollback", action="store_true", help="with --commit: an earlier release, without migrations")
    parser.add_argument("--json", action="store_true", help="end with the changes and all outputs as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Deploy and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rollback and not options.commit:
        parser.error("--rollback needs --commit")
    try:
        return _deploy(options)
    except DeployError as error:
        print(f"deploy: {error}", file=sys.stderr)
    except (ClientError, BotoCoreError) as error:
        print(f"deploy: AWS refused: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ndeploy: interrupted. CloudFormation goes on; the same command waits for it.", file=sys.stderr)
        return 130
    return 1


def _deploy(options: argparse.Namespace) -> int:
    settings = read_settings(options.stage, options.settings or ROOT / "stages" / f"{options.stage}.toml")
    commit = options.commit or releases.current_commit(dry_run=options.dry_run)
    how = {"kept": bool(options.commit), "rollback": options.rollback, "dry_run": options.dry_run}
    deployment = Deployment(options.stage, settings, commit, **how)
    account = boto3.Session(region_name=deployment.region).client("sts").get_caller_identity()["Account"]
    if settings.account not in ("", account):
        raise DeployError(f"these credentials are of account {account}, and the stage is in {settings.account}")
    print(f"{deployment.stack()} in {account} {deployment.region}, commit {commit}", flush=True)
    steps.run(deployment, until=options.until)
    if options.dry_run:
        print("Nothing was changed.")
    if options.json:
        print(json.dumps({"changes": deployment.changes, "values": deployment.values}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
