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

variable "longest_life" {
  description = "The longest life of a bastion in hours."
  type        = number
  default     = 24
  validation {
    condition     = var.longest_life >= 1 && var.longest_life <= 24
    error_message = "The longest life has 1 to 24 hours."
  }
}

variable "successors" {
  description = "Whether a life may have a successor that goes on after its limit."
  type        = bool
  default     = true
}
