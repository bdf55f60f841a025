"""What a trained cell did, from what it kept along training."""
