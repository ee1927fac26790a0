"""What can be known of a deployment without an account: linters, the policies against recorded calls, and moto."""
