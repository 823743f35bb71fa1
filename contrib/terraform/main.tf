# fumidai-guardian: starts a bastion on demand, lends a security group while it is used, and stops it when no session is open on it.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account    = data.aws_caller_identity.this.account_id
  partition  = data.aws_partition.this.partition
  region     = data.aws_region.this.name
  machine    = "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:fumidai-guardian"
  executions = "arn:${local.partition}:states:${local.region}:${local.account}:execution:fumidai-guardian:*"
  ec2        = "arn:${local.partition}:ec2:${local.region}:${local.account}"
}

# The definition with the two values of its state Settings.
locals {
  defaults   = file("${path.module}/../guardian/guardian.asl.json")
  limited    = replace(local.defaults, "\"longest_hours\": 24", "\"longest_hours\": ${var.longest_life}")
  definition = replace(local.limited, "\"successors\": true", "\"successors\": ${var.successors}")
}

data "aws_iam_policy_document" "guardian_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.machine]
    }
  }
}

data "aws_iam_policy_document" "guardian" {
  statement {
    sid       = "Look"
    actions   = ["ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ssm:DescribeSessions", "ssm:GetConnectionStatus"]
    resources = ["*"]
  }
  statement {
    sid       = "FindSuccessors"
    actions   = ["states:ListExecutions"]
    resources = [local.machine]
  }
  statement {
    sid       = "StartAndStopGuarded"
    actions   = ["ec2:StartInstances", "ec2:StopInstances"]
    resources = ["${local.ec2}:instance/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/fumidai:guarded"
      values   = ["true"]
    }
  }
  statement {
    sid       = "LendToGuardedInterfaces"
    actions   = ["ec2:ModifyNetworkInterfaceAttribute"]
    resources = ["${local.ec2}:network-interface/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/fumidai:guarded"
      values   = ["true"]
    }
  }
  statement {
    sid       = "WriteTheListOfGroups"
    actions   = ["ec2:ModifyNetworkInterfaceAttribute"]
    resources = ["${local.ec2}:security-group/*"]
  }
}

resource "aws_iam_role" "guardian" {
  name               = "fumidai-guardian"
  assume_role_policy = data.aws_iam_policy_document.guardian_trust.json
}

resource "aws_iam_role_policy" "guardian" {
  name   = "guard"
  role   = aws_iam_role.guardian.id
  policy = data.aws_iam_policy_document.guardian.json
}

resource "aws_sfn_state_machine" "guardian" {
  name       = "fumidai-guardian"
  type       = "STANDARD"
  role_arn   = aws_iam_role.guardian.arn
  definition = local.definition
}

data "aws_iam_policy_document" "user" {
  statement {
    sid       = "StartAndListLives"
    actions   = ["states:StartExecution", "states:ListExecutions"]
    resources = [local.machine]
  }
  statement {
    sid       = "SeeLives"
    actions   = ["states:DescribeExecution"]
    resources = [local.executions]
  }
}

data "aws_iam_policy_document" "watcher" {
  statement {
    sid       = "ListLives"
    actions   = ["states:ListExecutions"]
    resources = [local.machine]
  }
  statement {
    sid       = "SeeLives"
    actions   = ["states:DescribeExecution"]
    resources = [local.executions]
  }
}

resource "aws_iam_policy" "user" {
  name   = "fumidai-guardian-user"
  policy = data.aws_iam_policy_document.user.json
}

resource "aws_iam_policy" "watcher" {
  name   = "fumidai-guardian-watcher"
  policy = data.aws_iam_policy_document.watcher.json
}

# The optional bastion in a private subnet.

resource "aws_iam_role" "bastion" {
  count = var.private_subnet == null ? 0 : 1
  name  = "fumidai-bastion"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "bastion" {
  count      = var.private_subnet == null ? 0 : 1
  role       = aws_iam_role.bastion[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "bastion" {
  count = var.private_subnet == null ? 0 : 1
  name  = "fumidai-bastion"
  role  = aws_iam_role.bastion[0].name
}

resource "aws_security_group" "bastion" {
  count       = var.private_subnet == null ? 0 : 1
  name        = "fumidai-bastion"
  description = "The bastion accepts no connection from the network."
  vpc_id      = var.vpc
  tags        = { "fumidai:guarded" = "true" }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_network_interface" "bastion" {
  count           = var.private_subnet == null ? 0 : 1
  subnet_id       = var.private_subnet
  security_groups = [aws_security_group.bastion[0].id]
  tags            = { "fumidai:guarded" = "true" }
  lifecycle {
    # The guardian lends and takes back groups.
    ignore_changes = [security_groups]
  }
}

resource "aws_instance" "bastion" {
  count                = var.private_subnet == null ? 0 : 1
  ami                  = var.image
  instance_type        = var.instance_type
  iam_instance_profile = aws_iam_instance_profile.bastion[0].name
  tags                 = { Name = "bastion", "fumidai:guarded" = "true" }
  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.bastion[0].id
  }
}
