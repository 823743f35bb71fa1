"""Prints what botocore reads from the AWS files of each folder, as JSON by folder."""

import json
import os
import sys

import botocore.session
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import create_credential_resolver
from botocore.exceptions import BotoCoreError, ConfigParseError, MissingDependencyException

METHODS = {"shared-credentials-file": "keys", "config-file": "keys", "custom-process": "process"}


def source(session):
    resolver = create_credential_resolver(session)
    for name in ("container-role", "iam-role", "ec2-credentials-file", "boto-config"):
        resolver.remove(name)
    try:
        found = resolver.load_credentials()
    except MissingDependencyException:
        return "login"
    except Exception:
        return "error"
    if found is None:
        return "none"
    kind = METHODS.get(found.method, found.method)
    return f"{kind} {found.access_key}" if kind in ("keys", "process") else kind


def endpoint(session):
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="ssm"
    )
    try:
        return provider.provide()
    except BotoCoreError:
        return "error"


def read(folder):
    os.environ["AWS_CONFIG_FILE"] = os.path.join(folder, "config")
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.path.join(folder, "credentials")
    try:
        profiles = botocore.session.Session().full_config["profiles"]
    except ConfigParseError as error:
        return {"error": str(error)}
    answers = {}
    for name, options in profiles.items():
        session = botocore.session.Session(profile=name)
        answers[name] = {
            "options": {key: value for key, value in options.items() if isinstance(value, str)},
            "source": source(session),
            "endpoint": endpoint(session),
        }
    return {"profiles": answers}


print(json.dumps({name: read(os.path.join(sys.argv[1], name)) for name in sorted(os.listdir(sys.argv[1]))}))
