"""One LightningModule per scheme: what is minimised in `training_step`."""
