variable "private_subnet" {
  description = "A private subnet with a way to Systems Manager. If given, a bastion is made there."
  type        = string
  default     = null
}

variable "vpc" {
  description = "The VPC of private_subnet."
  type        = string
  default     = null
}

variable "image" {
  description = "The bastion's image (AMI id)."
  type        = string
  default     = null
}

variable "instance_type" {
  description = "The bastion's type."
  type        = string
  default     = "t4g.nano"
}
