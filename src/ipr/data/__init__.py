"""Images in memory, augmentation on the training device, and trigger sets."""
