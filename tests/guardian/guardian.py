"""The guardian's definition, as the templates make a state machine of it."""

import pathlib

DEFINITION = pathlib.Path(__file__).parents[2] / "contrib/guardian/guardian.asl.json"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/guardian"


def definition(longest_hours=None, successors=None):
    """The definition; with settings, as CloudFormation substitutes them."""
    text = DEFINITION.read_text()
    if longest_hours is not None:
        text = text.replace('"longest_hours": 24', f'"longest_hours": "{{% {longest_hours} %}}"')
    if successors is not None:
        text = text.replace('"successors": true', f'"successors": "{{% {str(successors).lower()} %}}"')
    return text
