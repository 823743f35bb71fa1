"""The templates: the definition in CloudFormation is the one file, and both templates are well formed."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import hcl2

ROOT = pathlib.Path(__file__).parents[2]
DEFINITION = (ROOT / "contrib/guardian/guardian.asl.json").read_text()
TEMPLATE = ROOT / "contrib/cloudformation/fumidai.yaml"


class Templates(unittest.TestCase):
    def test_the_template_has_the_definition_with_two_parameters(self):
        definition = DEFINITION
        for setting, default, parameter in (("longest_hours", "24", "LongestLife"), ("successors", "true", "Successors")):
            self.assertEqual(definition.count(f'"{setting}": {default}'), 1)
            definition = definition.replace(f'"{setting}": {default}', f'"{setting}": "{{% ${{{parameter}}} %}}"')
            self.assertIn(f"{parameter}: !Ref {parameter}", TEMPLATE.read_text())
        self.assertEqual(definition.count("${"), 2, "CloudFormation would substitute it")
        copy = "".join("        " + line + "\n" for line in definition.splitlines())
        self.assertIn("DefinitionString: |\n" + copy + "\n", TEMPLATE.read_text())
        self.assertLess(TEMPLATE.stat().st_size, 51_200, "the most that CloudFormation takes inline")

    def test_terraform_replaces_the_settings_that_the_definition_has(self):
        main = (ROOT / "contrib/terraform/main.tf").read_text()
        for setting in ('"longest_hours": 24', '"successors": true'):
            self.assertEqual(DEFINITION.count(setting), 1)
            self.assertIn(setting.replace('"', '\\"'), main)

    def test_cfn_lint_finds_nothing(self):
        done = subprocess.run([pathlib.Path(sys.executable).with_name("cfn-lint"), str(TEMPLATE)], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_the_terraform_files_parse_and_read_the_one_definition(self):
        for path in sorted((ROOT / "contrib/terraform").glob("*.tf")):
            with path.open() as file:
                parsed = hcl2.load(file)
            self.assertTrue(parsed, path)
        main = (ROOT / "contrib/terraform/main.tf").read_text()
        self.assertIn('file("${path.module}/../guardian/guardian.asl.json")', main)

    @unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
    def test_terraform_validates(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ROOT / "contrib", f"{folder}/contrib")
            at = f"{folder}/contrib/terraform"
            if subprocess.run(["terraform", "init", "-backend=false"], cwd=at, capture_output=True, check=False).returncode:
                self.skipTest("terraform cannot get the AWS provider")
            subprocess.run(["terraform", "validate"], cwd=at, check=True)

    def test_every_task_has_a_way_out(self):
        for name, state in json.loads(DEFINITION)["States"].items():
            if state["Type"] == "Task":
                self.assertEqual(state["Catch"][-1]["ErrorEquals"], ["States.ALL"], name)
                self.assertLessEqual(state["TimeoutSeconds"], 60, name)


if __name__ == "__main__":
    unittest.main()
