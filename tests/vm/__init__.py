"""The tier with a real kernel: an emulated machine with Debian 13, its outside world in other processes."""
