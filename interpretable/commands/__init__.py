"""What comes after training, a command each; `app` is all of them."""
