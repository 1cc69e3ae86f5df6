"""Policy evaluation: wildcards, conditions, and denials that override permissions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.iam_policy import Request, is_allowed, like

QUICK = settings(max_examples=300, deadline=None, derandomize=True)

ALLOW = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"}
READ = Request("s3:GetObject", "arn:aws:s3:::b/k", {"aws:sourceaccount": "1"})


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (ALLOW, True),
        ({**ALLOW, "Action": "S3:GETOBJECT"}, True),
        ({**ALLOW, "Action": ["s3:Put*", "s3:?etObject"]}, True),
        ({**ALLOW, "Action": "s3:Get"}, False),
        ({**ALLOW, "Resource": "arn:aws:s3:::b"}, False),
        ({**ALLOW, "Resource": "arn:aws:s3:::B/*"}, False),
        ({"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}, True),
        ({"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}, False),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, False),
        ({**ALLOW, "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}, True),
        ({**ALLOW, "Condition": {"StringEquals": {"aws:SourceAccount": ["2", "1"]}}}, True),
        ({**ALLOW, "Condition": {"StringEquals": {"aws:SourceAccount": "2"}}}, False),
        ({**ALLOW, "Condition": {"StringNotEquals": {"aws:SourceAccount": "1"}}}, False),
        ({**ALLOW, "Condition": {"StringEquals": {"aws:Missing": "1"}}}, False),
        ({**ALLOW, "Condition": {"StringEqualsIfExists": {"aws:Missing": "1"}}}, True),
        ({**ALLOW, "Condition": {"Bool": {"aws:SourceAccount": "${aws:SourceAccount}"}}}, False),
        ({**ALLOW, "Condition": {"NumericLessThan": {"aws:SourceAccount": "9"}}}, False),
    ],
)
def test_a_statement_allows(statement: dict[str, Any], allowed: bool) -> None:
    assert is_allowed([{"Statement": [statement]}], READ) is allowed


def test_a_denial_overrides_any_permission() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}

    assert not is_allowed([{"Statement": [deny, ALLOW]}], READ)
    assert not is_allowed([{"Statement": ALLOW}, {"Statement": [deny]}], READ)
    assert not is_allowed([], READ)
    # AND a Deny with an unknown condition operator denies
    strange = {**deny, "Condition": {"NumericLessThan": {"aws:SourceAccount": "9"}}}
    assert not is_allowed([{"Statement": [ALLOW, strange]}], READ)


def oracle_like(value: str, pattern: str) -> bool:
    """Match wildcards one character at a time."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return oracle_like(value, pattern[1:]) or (value != "" and oracle_like(value[1:], pattern))
    return value != "" and pattern[0] in ("?", value[0]) and oracle_like(value[1:], pattern[1:])


VALUES = st.text("ab.[\n", max_size=8)
PATTERNS = st.text("ab.[\n*?", max_size=6)


@QUICK
@given(VALUES, PATTERNS)
def test_wildcards_match_like_a_simple_matcher(value: str, pattern: str) -> None:
    assert like(value, pattern) is oracle_like(value, pattern)


ACTIONS = st.sampled_from(["s3:Get", "s3:Put", "sqs:Send"])
RESOURCES = st.sampled_from(["arn:a", "arn:b", "arn:b/c"])
STATEMENTS = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.lists(st.sampled_from(["*", "S3:*", "s3:get", "s3:?et", "sqs:Send"])),
        "Resource": st.lists(st.sampled_from(["*", "arn:a", "arn:b*", "arn:?"])),
    }
)


@QUICK
@given(st.lists(st.lists(STATEMENTS, max_size=3), max_size=3), ACTIONS, RESOURCES)
def test_one_denial_overrides_all_permissions(
    policies: list[list[dict[str, Any]]], action: str, resource: str
) -> None:
    effects = {
        statement["Effect"]
        for statements in policies
        for statement in statements
        if any(oracle_like(action.lower(), pattern.lower()) for pattern in statement["Action"])
        and any(oracle_like(resource, pattern) for pattern in statement["Resource"])
    }

    allowed = is_allowed([{"Statement": each} for each in policies], Request(action, resource))

    assert allowed is (effects == {"Allow"})


MATCHES = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": oracle_like,
    "ArnLike": oracle_like,
}
CONTEXTS = st.dictionaries(st.sampled_from(["aws:x", "aws:y"]), st.text("aB", max_size=2))


@QUICK
@given(
    st.sampled_from(sorted(MATCHES)),
    st.booleans(),
    st.booleans(),
    st.lists(st.text("aAB*", max_size=2), min_size=1, max_size=3),
    CONTEXTS,
)
def test_a_condition_holds(
    operator: str, negated: bool, if_exists: bool, wanted: list[str], context: dict[str, str]
) -> None:
    name = operator.replace("String", "StringNot").replace("Arn", "ArnNot") if negated else operator
    condition = {name + ("IfExists" if if_exists else ""): {"AWS:X": wanted}}
    value = context.get("aws:x")
    if value is None:
        expected = negated or if_exists
    else:
        expected = any(MATCHES[operator](value, each) for each in wanted) is not negated

    allowed = is_allowed(
        [{"Statement": {**ALLOW, "Condition": condition}}],
        Request(READ.action, READ.resource, context),
    )

    assert allowed is expected
