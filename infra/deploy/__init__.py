"""Deploys a stage to AWS: ``python -m infra.deploy STAGE``, or ``make deploy STAGE=…``.

:mod:`.steps` has the steps in their order. Decision 35 says why there are several stacks, and docs/deploy.md what each
step does. Every call that changes something goes through :meth:`.stage.Deployment.change`, which only describes it when
``--dry-run`` is given.
"""

from __future__ import annotations


class DeployError(Exception):
    """A step cannot go on. The text says which, why, and what to do."""
