output "guardian_arn" {
  value = aws_sfn_state_machine.guardian.arn
}

output "bastion_id" {
  value = one(aws_instance.bastion[*].id)
}
