"""The ways in which a template can be deployed: combinations of its parameters that its rules admit.

Only parameters on which a condition or a rule depends make a difference. Each has its allowed values, or its default
and an example. CloudFormation's functions on parameters are evaluated; references to resources stay as they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

Template = Mapping[str, Any]

EXAMPLES: Final[Mapping[str, Any]] = {
    "AlarmEmail": "operator@example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef",
    "DatabaseEndpoint": "studysmart.example.us-east-1.rds.amazonaws.com",
    "DatabaseIdentifier": "studysmart",
    "DatabaseSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:studysmart-database-AbCdEf",
    "DomainName": "practice.example.org",
    "EndpointURL": "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/api/",
    "EventBusName": "studysmart-events",
    "FilesBucket": "studysmart-files",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ",
    "Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/studysmart:1a2b3c4",
    "ModelSigningSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:studysmart-signing-AbCdEf",
    "ProviderArn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    "ReleasesBucketName": "studysmart-artifacts-releasesbucket-a1b2c3d4",
    "ReleasesBucketRegion": "us-east-1",
    "Repository": "studysmart/studysmart",
    "SecurityGroupIds": ["sg-0123456789abcdef0"],
    "Stage": "staging",
    "SubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/studysmart-training:1a2b3c4",
    "VpcId": "vpc-0123456789abcdef0",
    "Zones": ["us-east-1a", "us-east-1b"],
}
"""Values of parameters, in addition to their defaults. Lists of AWS's ids are in the network that we make."""

_NUMBER: Final = "5"
"""Value of a number whose default, 0, switches something off."""

PROTECTION: Final = "Protection"
"""End of the names of parameters that protect a resource from deletion. The first deployment says "false"."""

STACK_NAME: Final = "studysmart"

_PSEUDO: Final = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": STACK_NAME,
    "AWS::URLSuffix": "amazonaws.com",
}

_NOTHING: Final = {"Ref": "AWS::NoValue"}


class TemplateError(Exception):
    """A template uses something that the checks cannot evaluate."""


class Shared(NamedTuple):
    """What the stacks of one template share, because most resources are the same in most of them."""

    used: dict[str, list[str]]
    """The parameters on which a resource depends, by its name."""
    evaluated: dict[tuple[str, ...], dict[str, Any]]
    """Evaluated resources, by name and the values of these parameters."""


@dataclass(frozen=True)
class Stack:
    """A template with one combination of parameters: what CloudFormation would create."""

    template: Template
    values: Mapping[str, Any]
    shared: Shared = field(default_factory=lambda: Shared({}, {}))

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources whose condition is true, without branches that are not taken."""
        return {
            name: self._resource(name, resource)
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    def _resource(self, name: str, resource: Mapping[str, Any]) -> dict[str, Any]:
        if name not in self.shared.used:
            self.shared.used[name] = sorted(_used(self.template, resource))
        key = (name, *(str(self.values[parameter]) for parameter in self.shared.used[name]))
        if key not in self.shared.evaluated:
            self.shared.evaluated[key] = self.evaluate({**resource, "Condition": _NOTHING})
        return self.shared.evaluated[key]

    def of_type(self, *kinds: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of these types, such as ``Lambda::Function``, by name."""
        types = {f"AWS::{kind}" for kind in kinds}
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] in types
        }

    def condition(self, name: str) -> bool:
        """Return the value of a condition."""
        return bool(self.evaluate(self.template["Conditions"][name]))

    def is_admitted(self) -> bool:
        """Return whether CloudFormation would accept these parameters."""
        return all(
            bool(self.evaluate(one["Assert"]))
            for rule in self.template.get("Rules", {}).values()
            if "RuleCondition" not in rule or self.evaluate(rule["RuleCondition"])
            for one in rule["Assertions"]
        )

    def is_first(self) -> bool:
        """Return whether the first deployment may have these parameters: nothing is protected then."""
        return all(value == "false" for name, value in self.values.items() if name.endswith(PROTECTION))

    def evaluate(self, value: Any) -> Any:
        """Return a part of the template with all functions of parameters replaced by their values."""
        if isinstance(value, list):
            return [inner for one in value if (inner := self.evaluate(one)) != _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref" or name == "Condition" or name.startswith("Fn::"):
                return self._function(name, argument, value)
        evaluated = {key: self.evaluate(inner) for key, inner in value.items() if key != "Metadata"}
        return {key: inner for key, inner in evaluated.items() if inner != _NOTHING}

    def _function(self, name: str, argument: Any, whole: Any) -> Any:
        match name, argument:
            case "Ref", str():
                return self.values.get(argument, _PSEUDO.get(argument, whole))
            case "Condition", str():
                return self.condition(argument)
            case "Fn::If", [condition, yes, no]:
                return self.evaluate(yes if self.condition(condition) else no)
            case "Fn::Equals", [left, right]:
                return self.evaluate(left) == self.evaluate(right)
            case "Fn::Not", [one]:
                return not self.evaluate(one)
            case "Fn::And", list():
                return all(map(self.evaluate, argument))
            case "Fn::Or", list():
                return any(map(self.evaluate, argument))
            case "Fn::Contains", [members, one]:
                return self.evaluate(one) in self.evaluate(members)
            case "Fn::Select", [index, list(members)] if all(isinstance(one, str) for one in members):
                return members[int(index)]
            case "Fn::Select", [index, {"Ref": str(parameter)}] if parameter in self.values:
                return self.values[parameter][int(index)]
            case "Fn::FindInMap", [table, first, second]:
                return self.template["Mappings"][table][self.evaluate(first)][self.evaluate(second)]
            case "Fn::Join", [separator, parts]:
                parts = self.evaluate(parts)
                known = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
                return separator.join(parts) if known else {name: [separator, parts]}
            case "Fn::Sub", str():
                return self._substituted(argument)
        return {name: self.evaluate(argument)}

    def _substituted(self, text: str) -> Any:
        filled = re.sub(r"\$\{([^}!]+)\}", self._filled, text)
        return {"Fn::Sub": filled} if "${" in filled else filled

    def _filled(self, found: re.Match[str]) -> str:
        value = self.values.get(found[1], _PSEUDO.get(found[1]))
        return found[0] if value is None else str(value)


def stacks(template: Template) -> Iterator[Stack]:
    """Return a stack for each combination of parameters that makes a difference and that the rules admit.

    Parameters that decide about the same resource, or that a condition or rule names together, are a group. All
    combinations of a group are tried twice: with the first values of all other parameters, and with the last ones.
    """
    parameters = template.get("Parameters", {})
    choices = {name: _choices(name, parameter) for name, parameter in parameters.items()}
    deciding = _deciding(template)
    shared, seen = Shared({}, {}), set()
    for group in _groups(template, deciding):
        names = sorted(group)
        for others, varied in itertools.product((0, -1), itertools.product(*(choices[name] for name in names))):
            values = {name: several[others if name in deciding else 0] for name, several in choices.items()}
            stack = Stack(template, {**values, **dict(zip(names, varied, strict=True))}, shared)
            if repr(stack.values) not in seen and stack.is_admitted():
                seen.add(repr(stack.values))
                yield stack


def _deciding(template: Template) -> set[str]:
    """Return the parameters that conditions and rules refer to, and those that protect something."""
    parts = (template.get("Conditions", {}), template.get("Rules", {}))
    protecting = {name for name in template.get("Parameters", {}) if name.endswith(PROTECTION)}
    return protecting.union(*(_used(template, part) for part in parts))


def _groups(template: Template, deciding: set[str]) -> list[set[str]]:
    """Return the deciding parameters in groups; without any, one empty group."""
    groups = [{name} for name in sorted(deciding)] or [set()]
    for section in ("Conditions", "Rules", "Resources"):
        for part in template.get(section, {}).values():
            together = _used(template, part) & deciding
            touched = [group for group in groups if group & together]
            groups = [group for group in groups if group not in touched]
            groups += [set().union(*touched)] if touched else []
    return groups


def _used(template: Template, part: Any) -> set[str]:
    """Return the parameters that a part of the template refers to, also by its conditions."""
    text = repr(part)
    named = set(re.findall(r"'Ref': '(\w+)'|\$\{(\w+)\}", text))
    conditions = set(re.findall(r"'(?:Fn::If': \[|Condition': )'(\w+)'", text))
    by_conditions = (_used(template, template["Conditions"][name]) for name in conditions)
    return {one for pair in named for one in pair if one in template.get("Parameters", {})}.union(*by_conditions)


def _choices(name: str, parameter: Mapping[str, Any]) -> list[Any]:
    """Return the values of a parameter, the default first. Raises TemplateError if an example is missing."""
    default, is_list = parameter.get("Default"), "List" in parameter["Type"]
    if is_list and default is not None:
        default = str(default).split(",")
    values = [] if default is None else [default if is_list else str(default)]
    if "AllowedValues" in parameter:
        return values + [str(one) for one in parameter["AllowedValues"] if str(one) not in values]
    if name in EXAMPLES:
        return [*values, EXAMPLES[name]]
    if parameter["Type"] == "Number":
        return [*values, _NUMBER]
    if not values:
        raise TemplateError(f"infra/checks/combinations.py has no example for the parameter {name}")
    return values
